// The comparison of two looks at a VM: no QEMU, no clock.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "vmm/qemu/configuration.h"

namespace godwit::qemu {
namespace {

using Changes = std::vector<std::string>;

/// "b.qcow2 (on a.raw)": the image that is written, and what lies under it.
std::string chain_of(const Drive& disk) {
  if (disk.images.size() < 2) return disk.images.empty() ? "nothing" : disk.images.front();
  return fmt::format("{} (on {})", disk.images.front(), fmt::join(disk.images.begin() + 1, disk.images.end(), " on "));
}

/// Whether `now` has the images of `before` under new ones.
bool has_grown(const std::vector<std::string>& before, const std::vector<std::string>& now) {
  return now.size() > before.size() && std::equal(before.rbegin(), before.rend(), now.rbegin());
}

std::string change_of_medium(const std::string& name, const Drive& before, const Drive& now) {
  if (before.images.empty()) return fmt::format("a medium has been inserted into drive '{}': {}", name, chain_of(now));
  if (now.images.empty()) {
    return fmt::format("the medium of drive '{}' has been taken out: it was {}", name, chain_of(before));
  }
  return fmt::format("the medium of drive '{}' has been changed: it was {}, it is {}", name, chain_of(before),
                     chain_of(now));
}

std::string change_of_images(const std::string& name, const Drive& before, const Drive& now) {
  if (before.images.empty() || now.images.empty() || (before.removable && !has_grown(before.images, now.images))) {
    return change_of_medium(name, before, now);
  }
  return fmt::format("disk '{}' has been {}: it was on {}, it is on {}", name,
                     has_grown(before.images, now.images) ? "given a snapshot" : "moved to another image",
                     chain_of(before), chain_of(now));
}

void compare_disk(const std::string& name, const Drive& before, const Drive& now, Changes& out) {
  if (before.images != now.images) {
    out.push_back(change_of_images(name, before, now));
    return;  // the rest is the new image's
  }
  if (before.size != now.size) {
    out.push_back(fmt::format("disk '{}' has been resized: it had {} bytes, it has {}", name, before.size, now.size));
  }
  if (before.read_only != now.read_only) {
    out.push_back(fmt::format("disk '{}' has been made {}", name, now.read_only ? "read-only" : "writable"));
  }
  if (before.direct != now.direct) {
    out.push_back(fmt::format("the cache mode of disk '{}' has been changed: cache.direct is {} now", name,
                              now.direct ? "on" : "off"));
  }
  if (before.node != now.node) {
    out.push_back(fmt::format("disk '{}' has been given another block node: it was '{}', it is '{}'", name, before.node,
                              now.node));
  }
}

/// Walks two maps side by side.
template <typename Value, typename Added, typename Removed, typename Both>
void compare(const std::map<std::string, Value>& before, const std::map<std::string, Value>& now, Added&& added,
             Removed&& removed, Both&& both) {
  for (const auto& [name, value] : before) {
    const auto found = now.find(name);
    if (found == now.end()) {
      removed(name, value);
    } else {
      both(name, value, found->second);
    }
  }
  for (const auto& [name, value] : now) {
    if (!before.contains(name)) added(name, value);
  }
}

void compare_parts(std::string_view noun, const Parts& before, const Parts& now, Changes& out) {
  compare(
      before, now,
      [&](const auto& name, const auto& what) {
        out.push_back(fmt::format("{} '{}' ({}) has been added", noun, name, what));
      },
      [&](const auto& name, const auto& what) {
        out.push_back(fmt::format("{} '{}' ({}) has been removed", noun, name, what));
      },
      [&](const auto& name, const auto& was, const auto& is) {
        if (was != is)
          out.push_back(fmt::format("{} '{}' has been replaced: it was {}, it is {}", noun, name, was, is));
      });
}

}  // namespace

std::vector<std::string> find_changes(const Plugged& before, const Plugged& now) {
  Changes out;
  compare(
      before.disks, now.disks,
      [&](const auto& name, const Drive& disk) {
        out.push_back(fmt::format("disk '{}' has been added, on {}", name, chain_of(disk)));
      },
      [&](const auto& name, const Drive& disk) {
        out.push_back(fmt::format("disk '{}' has been removed, it was on {}", name, chain_of(disk)));
      },
      [&](const auto& name, const Drive& was, const Drive& is) { compare_disk(name, was, is, out); });
  compare_parts("device", before.devices, now.devices, out);
  return out;
}

std::vector<std::string> find_changes(const Configuration& before, const Configuration& now) {
  Changes out = find_changes(before.plugged, now.plugged);
  compare_parts("built-in device", before.built_in, now.built_in, out);
  compare_parts("CPU", before.cpus, now.cpus, out);
  compare_parts("network", before.networks, now.networks, out);
  const auto name_block = [&](std::string_view what) {
    return [&out, what](const auto& name, std::uint64_t length) {
      out.push_back(fmt::format("RAM block '{}' of {} bytes has been {}", name, length, what));
    };
  };
  compare(before.ram_blocks, now.ram_blocks, name_block("added"), name_block("removed"),
          [](const auto&, std::uint64_t, std::uint64_t) {});
  return out;
}

std::vector<std::string> find_node_changes(const Configuration& before, const Configuration& now) {
  Changes out;
  compare_parts("block node", before.nodes, now.nodes, out);
  return out;
}

}  // namespace godwit::qemu
