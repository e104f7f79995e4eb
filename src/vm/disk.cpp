// What is said of two disks, or of what lies under them, once it is known whether they are the same.
#include "vm/disk.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "vm/same_image.h"

namespace godwit {
namespace {

constexpr const char* kOverride = " (`godwit receive --any-disks` takes it all the same)";

// These keep the page caches of their hosts coherent.
constexpr std::array<std::string_view, 7> kCoherent = {"ceph", "gfs2",   "ocfs2",    "lustre",
                                                       "gpfs", "beegfs", "glusterfs"};

std::string describe_disk(const Disk& disk) {
  return disk.place.empty() ? fmt::format("disk '{}'", disk.name)
                            : fmt::format("disk '{}' at {}", disk.name, disk.place);
}

std::string describe_file(const Disk& disk) {
  if (disk.silent) return fmt::format("'{}' (whose storage does not answer)", disk.file);
  if (!disk.block_id.empty()) return fmt::format("'{}' (block device {})", disk.file, disk.block_id);
  if (disk.storage == Storage::kBlock) return fmt::format("'{}' (block device)", disk.file);
  if (disk.inode == 0) return fmt::format("'{}'", disk.file);
  return fmt::format("'{}' ({}, inode {})", disk.file, disk.file_system, disk.inode);
}

/// The sink's other disk that certainly is this one.
const Disk* find_swapped(const Disk& disk, const Disk& there, const std::vector<Disk>& sink, bool same_host) {
  for (const Disk& other : sink) {
    if (&other == &there || !other.inserted || other.file.empty()) continue;
    if (by_identity(disk, other, same_host) == Verdict::kSame) return &other;
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

std::string names_of(const std::vector<Disk>& layers) {
  std::string names;
  for (const Disk& layer : layers) names += fmt::format("{}'{}'", names.empty() ? "" : ", ", layer.file);
  return names.empty() ? "none" : names;
}

/// "the content is equal in 3 of 16 places looked at"
std::string looked_at(const SampleMatch& match) {
  if (match.read == 0) return {};
  return fmt::format("; the content is equal in {} of {} places looked at", match.equal, match.read);
}

/// One image that lies under the same overlay on both sides. Nobody writes it, so a copy that is equal wherever it was
/// looked at is as good as the image itself (hosts often keep copies of base images), and one that differs anywhere is
/// another.
void compare_layer(DiskFit& out, const std::string& what, const Disk& a, const Disk& b, bool same_host,
                   const SampleMatch& match) {
  if (a.size != b.size) {
    out.refusals.push_back(fmt::format("{} has {} bytes at the source ('{}'), {} bytes at the sink ('{}'){}", what,
                                       a.size, a.file, b.size, b.file, kOverride));
    return;
  }
  const std::string values = fmt::format("{} at the source, {} at the sink", describe_file(a), describe_file(b));
  if (!same_layout(a.format, b.format)) {
    out.refusals.push_back(fmt::format("{} has the format {} at the source, {} at the sink: {}{}", what, a.format,
                                       b.format, values, kOverride));
    return;
  }
  const bool differs = match.equal < match.read && !(same_host && by_identity(a, b, same_host) == Verdict::kSame);
  if (differs) {
    out.refusals.push_back(
        fmt::format("{} is not the same at the sink: {}{}{}", what, values, looked_at(match), kOverride));
  } else if (!agrees(match) && by_identity(a, b, same_host) != Verdict::kSame) {
    out.warnings.push_back(fmt::format("{}: whether it is the same on both sides cannot be told: {}", what, values));
  }
}

void compare_layers(DiskFit& out, const Disk& a, const Disk& b, bool same_host,
                    const std::vector<SampleMatch>& matches) {
  if (!a.layers_told || !b.layers_told) return;
  if (a.layers.size() != b.layers.size()) {
    out.refusals.push_back(fmt::format("{} has {} backing images at the source ({}), on {} at the sink ({}){}",
                                       describe_disk(a), a.layers.size(), names_of(a.layers), b.layers.size(),
                                       names_of(b.layers), kOverride));
    return;
  }
  for (std::size_t i = 0; i < a.layers.size(); ++i) {
    const auto what = fmt::format("backing image {} of {} of {}", i + 1, a.layers.size(), describe_disk(a));
    compare_layer(out, what, a.layers[i], b.layers[i], same_host, i < matches.size() ? matches[i] : SampleMatch{});
  }
}

/// Whether nothing is refused about the image itself.
bool compare_image(DiskFit& out, const Disk& a, const Disk& b, const std::vector<Disk>& sink, bool same_host,
                   const SampleMatch& match) {
  const std::string values = fmt::format("{} at the source, {} at the sink", describe_file(a), describe_file(b));
  const Verdict verdict = compare(a, b, same_host, match);
  if (verdict == Verdict::kSame) return true;
  if (const Disk* swapped = find_swapped(a, b, sink, same_host)) {
    out.refusals.push_back(fmt::format("{} is another disk at the sink: {}; there '{}' is the one that is here '{}'{}",
                                       describe_disk(a), values, swapped->name, a.name, kOverride));
  } else if (!same_layout(a.format, b.format) && a.inode != 0 && b.inode != 0) {
    out.refusals.push_back(fmt::format("{} has the format {} at the source, {} at the sink: {}{}", describe_disk(a),
                                       a.format, b.format, values, kOverride));
  } else if (verdict == Verdict::kOther) {
    out.refusals.push_back(fmt::format("{} is not the same disk at the sink: {}{}{}", describe_disk(a), values,
                                       looked_at(match), kOverride));
  } else {
    out.warnings.push_back(
        fmt::format("{}: whether it is the same disk on both sides cannot be told: {}", describe_disk(a), values));
    return true;
  }
  return false;
}

void compare_pair(DiskFit& out, const Disk& a, const Disk& b, const std::vector<Disk>& sink, bool same_host,
                  const DiskMatch& match) {
  if (const auto difference = guest_visible_difference(a, b); !difference.empty()) {
    out.refusals.push_back(difference + kOverride);
    return;
  }
  if (!a.inserted || a.firmware) return;
  if (compare_image(out, a, b, sink, same_host, match.image)) compare_layers(out, a, b, same_host, match.layers);
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
                      const std::vector<DiskMatch>& matches) {
  DiskFit out;
  for (std::size_t i = 0; i < source.size(); ++i) {
    const Disk* there = disk_for(source[i], sink);
    if (there == nullptr) {
      out.refusals.push_back(
          fmt::format("{} ('{}') is missing at the sink{}", describe_disk(source[i]), source[i].file, kOverride));
      continue;
    }
    compare_pair(out, source[i], *there, sink, same_host, i < matches.size() ? matches[i] : DiskMatch{});
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
