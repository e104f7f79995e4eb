#include "vmm/qemu/second_look.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "vmm/qemu/block_activity.h"
#include "vmm/qemu/configuration.h"
#include "vmm/qemu/obstacles.h"
#include "vmm/qemu/ram_blocks.h"
#include "vmm/qemu/unseen_writers.h"

namespace godwit::qemu {
namespace {

// More than these say no more: the line is for a person.
constexpr std::size_t kNamed = 6;

void name_obstacles(const std::vector<Obstacle>& obstacles, std::vector<std::string>& out) {
  for (const auto& obstacle : obstacles) out.push_back(fmt::format("{}: {}", obstacle.what, obstacle.why));
}

/// Main memory has the length that the lanes were told, and lies where the tracker looks.
Status compare_memory(const QemuVm& vm, const Configuration& now, std::vector<std::string>& out) {
  const auto mappings = TRY(vm.process->mappings());
  for (const auto& block : vm.inspection.blocks) {
    const auto found = now.ram_blocks.find(block.name);
    if (found == now.ram_blocks.end()) continue;  // said already
    if (found->second != block.size) {
      out.push_back(fmt::format("RAM block '{}' has been resized: it had {} bytes, it has {}", block.name, block.size,
                                found->second));
      continue;
    }
    const auto cover_now = cover(mappings, block.address, block.size);
    if (!cover_now || cover_now->backing != block.backing || cover_now->first.inode != block.mapping.inode ||
        cover_now->first.device != block.mapping.device) {
      out.push_back(fmt::format("RAM block '{}' has been mapped again", block.name));
    }
  }
  return {};
}

/// Drives, devices, jobs, exports.
Result<std::vector<std::string>> find_quick_changes(QemuVm& vm) {
  std::vector<std::string> changes;
  name_obstacles(TRY(find_block_activity(*vm.qmp)), changes);
  const auto now = TRY(read_plugged(*vm.qmp));
  for (auto& change : find_changes(vm.inspection.configuration.plugged, now)) changes.push_back(std::move(change));
  return changes;
}

}  // namespace

Error changed_meanwhile(const std::vector<std::string>& changes, std::string_view what) {
  const auto named = std::min(changes.size(), kNamed);
  std::string text = fmt::format(
      "{}: {}", what, fmt::join(changes.begin(), changes.begin() + static_cast<std::ptrdiff_t>(named), "; "));
  if (changes.size() > named) text += fmt::format("; and {} more", changes.size() - named);
  return Error{ErrorKind::kRefused, std::move(text)};
}

Result<Configuration> look_again(QemuVm& vm, bool migrates) {
  // What has no name of its own any more cannot be asked for; the blocks of the beginning are what the tracker watches.
  Ram ram;
  ram.blocks = vm.inspection.blocks;
  std::vector<std::string> changes;
  name_obstacles(TRY(find_new_obstacles(*vm.qmp, *vm.process, ram, migrates)), changes);
  // The guest may have become a hypervisor, and QEMU have registered buffers, since the tracker began.
  name_obstacles(TRY(find_unseen_writers(*vm.qmp, *vm.process, vm.inspection)), changes);
  auto now = TRY(read_configuration(*vm.qmp));
  for (auto& change : find_changes(vm.inspection.configuration, now)) changes.push_back(std::move(change));
  TRY(compare_memory(vm, now, changes));
  if (changes.empty()) changes = find_node_changes(vm.inspection.configuration, now);
  if (!changes.empty()) return fail(changed_meanwhile(changes));
  return now;
}

Status check_other_blocks(QemuVm& vm) {
  Ram ram;
  ram.blocks = vm.inspection.blocks;
  const auto now = TRY(find_other_blocks(*vm.qmp, *vm.process, ram));
  if (now.missing) return fail(changed_meanwhile({*now.missing}));
  for (const BlockInfo& before : vm.inspection.other.blocks) {
    const auto same = std::ranges::find(now.blocks, before.name, &BlockInfo::name);
    if (same == now.blocks.end()) return fail(changed_meanwhile({fmt::format("RAM block '{}' is gone", before.name)}));
    if (same->size != before.size) {
      return fail(changed_meanwhile({fmt::format("RAM block '{}' has been resized: it had {} bytes, it has {}",
                                                 before.name, before.size, same->size)}));
    }
    if (same->address != before.address || same->backing != before.backing) {
      return fail(changed_meanwhile({fmt::format("RAM block '{}' has been mapped again", before.name)}));
    }
  }
  return {};
}

Status look_again_quickly(QemuVm& vm) {
  auto changes = TRY(find_quick_changes(vm));
  if (vm.inspection.nested_entries) {
    const bool nests = TRY(has_run_nested_vms_since(*vm.qmp, *vm.inspection.nested_entries));
    if (nests) name_obstacles({nested_vms_obstacle()}, changes);
  }
  return changes.empty() ? Status{} : fail(changed_meanwhile(changes));
}

Status look_again_at_sink(QemuVm& vm) {
  const auto changes = TRY(find_quick_changes(vm));
  if (changes.empty()) return {};
  return fail(changed_meanwhile(changes, "the destination's QEMU has been changed since `godwit receive` began"));
}

}  // namespace godwit::qemu
