#include "linux_guest/guest_page_table.h"

#include <algorithm>

namespace godwit::linux_guest {
namespace {

constexpr std::uint64_t kPresent = 1;
constexpr std::uint64_t kLeaf = 0x80;                       // in an entry above the last level: it maps a large page
constexpr std::uint64_t kAddressBits = 0x000ffffffffff000;  // bits 12 to 51 of an entry
constexpr unsigned kLargestLeafLevel = 3;                   // 1 GiB

constexpr unsigned shift_of(unsigned level) {
  return 12 + 9 * (level - 1);
}

}  // namespace

GuestPageTable::GuestPageTable(const GuestPhysical& physical, const Root& root)
    : physical_(physical), root_(root), tables_(std::make_unique<std::array<Remembered, 5>>()) {}

const GuestPageTable::Table* GuestPageTable::table_at(unsigned level, std::uint64_t physical) {
  Remembered& last = (*tables_)[level - 1];
  if (last.physical != physical) {
    last.physical.reset();
    const auto read = physical_.read(physical, std::as_writable_bytes(std::span(last.entries)));
    if (!read || !*read) return nullptr;
    last.physical = physical;
  }
  return &last.entries;
}

std::optional<GuestPageTable::Translation> GuestPageTable::translate(std::uint64_t address) {
  // The kernel's half: all bits above the highest index are ones.
  const unsigned top = shift_of(root_.levels + 1) - 1;
  if (address >> top != ~std::uint64_t{0} >> top) return std::nullopt;
  const std::uint64_t address_bits = kAddressBits & ~root_.encryption_mask;
  std::uint64_t table = root_.physical & address_bits;
  for (unsigned level = root_.levels;; --level) {
    const Table* const entries = table_at(level, table);
    if (entries == nullptr) return std::nullopt;
    const std::uint64_t entry = (*entries)[address >> shift_of(level) & 511];
    if ((entry & kPresent) == 0) return std::nullopt;
    if (level == 1 || (level <= kLargestLeafLevel && (entry & kLeaf) != 0)) {
      const std::uint64_t size = std::uint64_t{1} << shift_of(level);
      return Translation{(entry & address_bits & ~(size - 1)) | (address & (size - 1)), size};
    }
    if ((entry & kLeaf) != 0) return std::nullopt;
    table = entry & address_bits;
  }
}

bool GuestPageTable::read(std::uint64_t address, MutableBytes out) {
  while (!out.empty()) {
    const auto place = translate(address);
    if (!place) return false;
    const std::uint64_t left = place->leaf_size - address % place->leaf_size;
    const auto length = static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), left));
    const auto read = physical_.read(place->physical, out.first(length));
    if (!read || !*read) return false;
    out = out.subspan(length);
    address += length;
  }
  return true;
}

}  // namespace godwit::linux_guest
