// Walks an x86-64 guest's page table from outside: 4 or 5 levels, pages of 4 KiB, 2 MiB and 1 GiB.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>

#include "memory/guest_physical.h"

namespace godwit::linux_guest {

/// Remembers the tables it went through last: for one look at a guest, not for a second one later. One thread.
class GuestPageTable {
 public:
  struct Root {
    std::uint64_t physical = 0;
    unsigned levels = 4;
    std::uint64_t encryption_mask = 0;
  };
  /// `physical` outlives it.
  GuestPageTable(const GuestPhysical& physical, const Root& root);

  struct Translation {
    std::uint64_t physical = 0;
    std::uint64_t leaf_size = 0;  ///< the page's size: 4 KiB, 2 MiB or 1 GiB
  };
  /// Where the kernel's address lies; nothing if it is not mapped, or its tables cannot be read.
  std::optional<Translation> translate(std::uint64_t address);
  /// Copies [address, address + out.size()); false if not all of it is mapped RAM.
  bool read(std::uint64_t address, MutableBytes out);
  /// A number of the guest's.
  template <typename Number>
  std::optional<Number> read_number(std::uint64_t address) {
    Number number = 0;
    if (!read(address, std::as_writable_bytes(std::span(&number, 1)))) return std::nullopt;
    return number;
  }

 private:
  using Table = std::array<std::uint64_t, 512>;
  struct Remembered {
    std::optional<std::uint64_t> physical;
    Table entries{};
  };
  const Table* table_at(unsigned level, std::uint64_t physical);

  const GuestPhysical& physical_;
  Root root_;
  std::unique_ptr<std::array<Remembered, 5>> tables_;  ///< the last one of each level; 20 KiB
};

}  // namespace godwit::linux_guest
