#include "linux_guest/kernel_check.h"

#include <fmt/format.h>

#include <array>

namespace godwit::linux_guest {
namespace {

constexpr std::size_t kUtsField = 65;  // struct new_utsname: sysname, nodename, release, ...
constexpr std::uint64_t kCr3AddressBits = 0x000ffffffffff000;
constexpr std::uint64_t kUserHalf = 0x1000;  // page-table isolation: the user's table is the kernel's with this bit set

std::string_view field(std::string_view names, std::size_t number) {
  const std::string_view field = names.substr(number * kUtsField, kUtsField);
  return field.substr(0, field.find('\0'));
}

bool maps_root(const Vmcoreinfo& info, const GuestPhysical& physical, std::uint64_t through) {
  GuestPageTable::Root root = root_of(info);
  root.physical = through;
  const auto place = GuestPageTable(physical, root).translate(info.page_table.symbol);
  return place && place->physical == info.page_table.root;
}

}  // namespace

GuestPageTable::Root root_of(const Vmcoreinfo& info) noexcept {
  return {info.page_table.root, info.page_table.levels, info.page_table.encryption_mask};
}

Status check_kernel(const Vmcoreinfo& info, const GuestPhysical& physical) {
  if (!maps_root(info, physical, info.page_table.root)) {
    return fail(ErrorKind::kUnsupported, "the note's page table is not in the guest's memory");
  }
  std::array<char, 3 * kUtsField> names{};
  GuestPageTable table(physical, root_of(info));
  if (!table.read(info.uts_name, std::as_writable_bytes(std::span(names)))) {
    return fail(ErrorKind::kUnsupported, "the kernel's name cannot be read");
  }
  const std::string_view all(names.data(), names.size());
  if (field(all, 0) != "Linux" || field(all, 2) != info.release) {
    return fail(ErrorKind::kUnsupported, "the kernel in the guest's memory is not the note's");
  }
  return {};
}

Status check_live(const Vmcoreinfo& info, const GuestPhysical& physical, std::span<const std::uint64_t> roots) {
  if (roots.empty()) return fail(ErrorKind::kUnsupported, "no vCPU of the guest uses page tables");
  for (const std::uint64_t register_value : roots) {
    const std::uint64_t root = register_value & kCr3AddressBits;
    if (!maps_root(info, physical, root) && !maps_root(info, physical, root & ~kUserHalf)) {
      return fail(ErrorKind::kUnsupported,
                  fmt::format("a vCPU does not run the kernel {} that the note tells of", info.release));
    }
  }
  return {};
}

}  // namespace godwit::linux_guest
