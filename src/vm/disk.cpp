// Three kinds of evidence, best first: names that are the same at every host (an inode of a shared file system, a
// world-wide name); on one host the file itself; samples of the content, which can only prove that two images are not
// the same, for a copy is equal, and which a guest that writes may change one by one, but not by the dozen.
#include "vm/disk.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

namespace godwit {
namespace {

enum class Verdict { kSame, kOther, kUnknown };

// What travels of a file's name (wire/limits.h).
constexpr std::size_t kLongestFile = 512;

constexpr const char* kOverride = " (`godwit receive --any-disks` takes it all the same)";

// These keep the page caches of their hosts coherent.
constexpr std::array<std::string_view, 7> kCoherent = {"ceph", "gfs2",   "ocfs2",    "lustre",
                                                       "gpfs", "beegfs", "glusterfs"};

std::string describe_disk(const Disk& disk) {
  return disk.place.empty() ? fmt::format("disk '{}'", disk.name)
                            : fmt::format("disk '{}' at {}", disk.name, disk.place);
}

std::string describe_file(const Disk& disk) {
  if (!disk.block_id.empty()) return fmt::format("'{}' (block device {})", disk.file, disk.block_id);
  if (disk.storage == Storage::kBlock) return fmt::format("'{}' (block device)", disk.file);
  if (disk.inode == 0) return fmt::format("'{}'", disk.file);
  return fmt::format("'{}' ({}, inode {})", disk.file, disk.file_system, disk.inode);
}

bool is_file(const Disk& disk) {
  return disk.inode != 0 && disk.storage != Storage::kBlock;
}

/// Content that is not that of the same image a moment later.
bool contradicts(const SampleMatch& match) {
  return match.read > 0 && match.equal * 2 < match.read;
}

bool agrees(const SampleMatch& match) {
  return match.read > 0 && match.equal == match.read;
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

Verdict by_block_id(const Disk& a, const Disk& b) {
  if (a.block_id.empty() || b.block_id.empty()) return Verdict::kUnknown;
  return a.block_id == b.block_id ? Verdict::kSame : Verdict::kOther;
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

Verdict compare(const Disk& a, const Disk& b, bool same_host, const SampleMatch& match) {
  // A copy of an image that is only read is as good.
  if (a.read_only && b.read_only && agrees(match)) return Verdict::kSame;
  Verdict verdict = by_name(a, b, same_host);
  if (verdict == Verdict::kUnknown) verdict = same_host ? on_one_host(a, b) : on_two_hosts(a, b);
  // Names are given by each host: two servers number their files alike, a nested disk has the serial number that
  // somebody typed. Content that differs tells more.
  if (!same_host && verdict == Verdict::kSame && contradicts(match)) return Verdict::kOther;
  return verdict == Verdict::kUnknown ? by_content(match) : verdict;
}

/// The sink's other disk that certainly is this one.
const Disk* find_swapped(const Disk& disk, const Disk& there, const std::vector<Disk>& sink, bool same_host) {
  for (const Disk& other : sink) {
    if (&other == &there || !other.inserted || other.file.empty()) continue;
    Verdict verdict = by_name(disk, other, same_host);
    if (verdict == Verdict::kUnknown) verdict = same_host ? on_one_host(disk, other) : on_two_hosts(disk, other);
    if (verdict == Verdict::kSame) return &other;
  }
  return nullptr;
}

/// What the guest itself would notice; empty if nothing.
std::string guest_visible_difference(const Disk& a, const Disk& b) {
  const std::string what = describe_disk(a);
  if (a.inserted && !b.inserted) return fmt::format("{} holds '{}' at the source, nothing at the sink", what, a.file);
  if (!a.inserted && b.inserted) return fmt::format("{} holds nothing at the source, '{}' at the sink", what, b.file);
  if (a.size != b.size) {
    return fmt::format("{} has {} bytes at the source ('{}'), {} bytes at the sink ('{}')", what, a.size, a.file,
                       b.size, b.file);
  }
  if (!a.read_only && b.read_only) return fmt::format("{} is writable at the source, read-only at the sink", what);
  return {};
}

void compare_pair(DiskFit& out, const Disk& a, const Disk& b, const std::vector<Disk>& sink, bool same_host,
                  const SampleMatch& match) {
  if (const auto difference = guest_visible_difference(a, b); !difference.empty()) {
    out.refusals.push_back(difference + kOverride);
    return;
  }
  if (!a.inserted || a.firmware) return;
  const std::string values = fmt::format("{} at the source, {} at the sink", describe_file(a), describe_file(b));
  const Verdict verdict = compare(a, b, same_host, match);
  if (verdict == Verdict::kSame) return;
  if (const Disk* swapped = find_swapped(a, b, sink, same_host)) {
    out.refusals.push_back(fmt::format("{} is another disk at the sink: {}; there '{}' is the one that is here '{}'{}",
                                       describe_disk(a), values, swapped->name, a.name, kOverride));
  } else if (a.format != b.format && a.inode != 0 && b.inode != 0) {
    out.refusals.push_back(fmt::format("{} has the format {} at the source, {} at the sink: {}{}", describe_disk(a),
                                       a.format, b.format, values, kOverride));
  } else if (verdict == Verdict::kOther) {
    const auto looked =
        match.read > 0 ? fmt::format("; the content is equal in {} of {} places looked at", match.equal, match.read)
                       : std::string();
    out.refusals.push_back(
        fmt::format("{} is not the same disk at the sink: {}{}{}", describe_disk(a), values, looked, kOverride));
  } else {
    out.warnings.push_back(
        fmt::format("{}: whether it is the same disk on both sides cannot be told: {}", describe_disk(a), values));
  }
}

}  // namespace

std::string name_of(Storage storage) {
  switch (storage) {
    case Storage::kUnknown:
      return "unknown";
    case Storage::kLocal:
      return "local";
    case Storage::kShared:
      return "shared";
    case Storage::kBlock:
      return "block";
  }
  return "unknown";
}

Storage storage_by_name(const std::string& name) {
  for (const auto storage : {Storage::kLocal, Storage::kShared, Storage::kBlock}) {
    if (name == name_of(storage)) return storage;
  }
  return Storage::kUnknown;
}

const Disk* disk_for(const Disk& source, const std::vector<Disk>& sink) {
  const auto find = [&](auto fits) {
    const auto found = std::find_if(sink.begin(), sink.end(), fits);
    return found == sink.end() ? nullptr : &*found;
  };
  if (!source.place.empty()) {
    if (const Disk* same_place = find([&](const Disk& d) { return d.place == source.place; })) return same_place;
  }
  return find([&](const Disk& d) { return d.name == source.name; });
}

DiskFit compare_disks(const std::vector<Disk>& source, const std::vector<Disk>& sink, bool same_host,
                      const std::vector<SampleMatch>& matches) {
  DiskFit out;
  for (std::size_t i = 0; i < source.size(); ++i) {
    const Disk* there = disk_for(source[i], sink);
    if (there == nullptr) {
      out.refusals.push_back(
          fmt::format("{} ('{}') is missing at the sink{}", describe_disk(source[i]), source[i].file, kOverride));
      continue;
    }
    compare_pair(out, source[i], *there, sink, same_host, i < matches.size() ? matches[i] : SampleMatch{});
  }
  return out;
}

std::vector<std::string> unsafe_caches(const std::vector<Disk>& disks) {
  std::vector<std::string> out;
  for (const Disk& disk : disks) {
    if (disk.read_only || disk.firmware || !disk.inserted) continue;
    const bool coherent = std::find(kCoherent.begin(), kCoherent.end(), disk.file_system) != kCoherent.end();
    const bool several_hosts = disk.storage == Storage::kBlock || (disk.storage == Storage::kShared && !coherent);
    if (disk.no_flush) {
      out.push_back(
          fmt::format("{} has cache.no-flush=on (cache=unsafe): what the guest has flushed may not have reached the "
                      "storage when the "
                      "other host reads it",
                      describe_disk(disk)));
    } else if (!disk.direct && several_hosts) {
      out.push_back(
          fmt::format("{} goes through this host's page cache, and the other host may read old data: use "
                      "cache.direct=on (cache=none)",
                      describe_disk(disk)));
    }
  }
  return out;
}

}  // namespace godwit
