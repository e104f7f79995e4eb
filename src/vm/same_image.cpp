// Three kinds of evidence, best first: names that are the same at every host (an inode of a shared file system, a
// world-wide name); on one host the file itself; samples of the content, which can only prove that two images are not
// the same, because a copy is equal, and which a guest that writes may change one by one, but not by the dozen.
#include "vm/same_image.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

namespace godwit {
namespace {

// What travels of a file's name (wire/limits.h).
constexpr std::size_t kLongestFile = 512;
// Samples that must have been read before content alone says that it is another image.
constexpr unsigned kFewestPieces = 4;

/// A block device's name without what each host adds, and of which kind it is.
struct BlockName {
  std::string kind;
  std::string value;
};

BlockName block_name(std::string id) {
  BlockName name;
  const auto drop = [&](std::string_view prefix) {
    if (!id.starts_with(prefix)) return false;
    id.erase(0, prefix.size());
    return true;
  };
  // dm-multipath's uuid is the SCSI name of its paths with a digit for its kind in front: naa, eui, t10.
  const bool multipath = drop("mpath-");
  constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kScsi = {
      {{"3", "naa."}, {"2", "eui."}, {"1", "t10."}}};
  for (const auto& [digit, prefix] : kScsi) {
    if (!(multipath ? drop(digit) : drop(prefix))) continue;
    name.kind = prefix;
    break;
  }
  if (name.kind.empty()) {
    // "LVM-...", "CRYPT-LUKS2-uuid-name", "part1-mpath-...", "nvme.1234-...", "uuid.1234", or a serial number.
    for (const std::string_view kind : {"LVM-", "CRYPT-", "nvme.", "uuid.", "DMRAID-", "part"}) {
      if (id.starts_with(kind)) name.kind = kind;
    }
    // How a host has named what it decrypted is its own affair.
    if (name.kind == "CRYPT-") id.resize(std::min(id.rfind('-'), id.size()));
  }
  if (multipath && name.kind.empty()) name.kind = "mpath-";
  name.value = std::move(id);
  return name;
}

bool is_file(const Disk& disk) {
  return disk.inode != 0 && disk.storage != Storage::kBlock;
}

/// Content that is not that of the same image a moment later. A guest writes its superblock, its journal, the newest
/// log: one or two pieces that differ prove nothing, and a nearly empty disk has no more.
bool contradicts(const SampleMatch& match) {
  return match.read >= kFewestPieces && match.equal * 2 < match.read;
}

Verdict by_content(const SampleMatch& match) {
  return contradicts(match) ? Verdict::kOther : Verdict::kUnknown;
}

/// An address that means another thing at each host.
bool is_of_one_host(std::string_view file) {
  for (const std::string_view here : {"unix", "localhost", "127.0.0.1", "::1", "\"path\"", "\"filename\""}) {
    if (file.find(here) != std::string_view::npos) return true;
  }
  return false;
}

bool is_address(std::string_view file) {
  return file.find("://") != std::string_view::npos || file.starts_with("rbd:") || file.starts_with("json:");
}

Verdict by_name(const Disk& a, const Disk& b, bool same_host) {
  const bool whole = a.file.size() < kLongestFile;  // two long ones may differ behind what is told of them
  if (!whole || !is_address(a.file) || a.file != b.file) return Verdict::kUnknown;
  return same_host || !is_of_one_host(a.file) ? Verdict::kSame : Verdict::kUnknown;
}

/// Names of one kind are compared: a host that knows a device by its serial number and one that knows it by its
/// world-wide name do not disagree.
Verdict by_block_id(const Disk& a, const Disk& b) {
  const BlockName here = block_name(a.block_id);
  const BlockName there = block_name(b.block_id);
  if (here.value.empty() || here.kind != there.kind) return Verdict::kUnknown;
  return here.value == there.value ? Verdict::kSame : Verdict::kOther;
}

Verdict on_one_host(const Disk& a, const Disk& b) {
  if (a.storage == Storage::kBlock && b.storage == Storage::kBlock) {
    return a.device == b.device ? Verdict::kSame : by_block_id(a, b);
  }
  if (!is_file(a) || !is_file(b)) return Verdict::kUnknown;
  // One NFS may be mounted twice; a local file system has one device number wherever it is mounted.
  if (a.inode == b.inode && (a.device == b.device || a.storage == Storage::kShared)) return Verdict::kSame;
  const bool told = a.storage != Storage::kUnknown && b.storage != Storage::kUnknown;
  return told ? Verdict::kOther : Verdict::kUnknown;
}

Verdict on_two_hosts(const Disk& a, const Disk& b) {
  if (a.storage == Storage::kBlock && b.storage == Storage::kBlock) return by_block_id(a, b);
  if (!is_file(a) || !is_file(b) || a.storage == Storage::kUnknown || b.storage == Storage::kUnknown) {
    return Verdict::kUnknown;
  }
  if (a.storage == Storage::kLocal && b.storage == Storage::kLocal) return Verdict::kOther;
  // One of them may be the server itself, which sees its own file system; its clients are told those inodes.
  if (a.inode == b.inode) return Verdict::kSame;
  return a.file_system == b.file_system ? Verdict::kOther : Verdict::kUnknown;
}

}  // namespace

Verdict by_identity(const Disk& a, const Disk& b, bool same_host) {
  const Verdict verdict = by_name(a, b, same_host);
  if (verdict != Verdict::kUnknown) return verdict;
  return same_host ? on_one_host(a, b) : on_two_hosts(a, b);
}

bool agrees(const SampleMatch& match) {
  return match.read > 0 && match.equal == match.read;
}

bool same_layout(std::string_view a, std::string_view b) {
  const auto is_raw = [](std::string_view format) {
    static constexpr auto kRaw = std::to_array<std::string_view>(
        {"raw", "file", "host_device", "host_cdrom", "nbd", "nfs", "rbd", "iscsi", "ssh", "gluster", "http", "https"});
    return std::find(kRaw.begin(), kRaw.end(), format) != kRaw.end();
  };
  return a == b || (is_raw(a) && is_raw(b));
}

Verdict compare(const Disk& a, const Disk& b, bool same_host, const SampleMatch& match) {
  // A copy of an image that is only read is as good.
  if (a.read_only && b.read_only && agrees(match)) return Verdict::kSame;
  const Verdict verdict = by_identity(a, b, same_host);
  // Names are given by each host: two servers number their files alike, a nested disk has the serial number that
  // somebody typed. Content that differs tells more.
  if (!same_host && verdict == Verdict::kSame && contradicts(match)) return Verdict::kOther;
  return verdict == Verdict::kUnknown ? by_content(match) : verdict;
}

}  // namespace godwit
