// Reads a guest's struct pages in bulk, and tells which of them begin a free block.
//
//   struct pages (vmemmap)   |---- window: 16 pages to 256 KiB, contiguous in guest RAM ----|
//                              read in place where the RAM is mapped, else from two copies made one after the other
//
// Of a running guest a free block is believed only if it looks the same twice: its order is read between two looks at
// its mark, so a block that is split, merged or taken just then is not taken for one of another size.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "linux_guest/guest_page_table.h"
#include "linux_guest/memory_sections.h"
#include "linux_guest/page_frames.h"
#include "memory/guest_memory.h"

namespace godwit::linux_guest {

/// For one look at a guest: translations are remembered. One thread.
class StructPages {
 public:
  enum class Guest { kRunning, kStopped };

  /// All outlive it.
  StructPages(GuestMemory& memory, const PageFrames& frames, GuestPageTable& table, const Vmcoreinfo& info,
              const MemorySections& sections, Guest guest);

  /// The order of the free block that begins at this frame; nothing if none does.
  std::optional<unsigned> free_order(std::uint64_t frame) {
    const std::uint64_t section = frame >> section_shift_;
    if (section >= sections_.mem_maps.size() || sections_.mem_maps[section] == 0) return std::nullopt;
    const std::uint64_t address = sections_.mem_maps[section] + frame * page_.size;
    if (address - window_.address >= window_.length) move_window(address);
    if (window_.first == nullptr) return std::nullopt;
    const std::uint64_t offset = address - window_.address;
    // Most are in use; the walk's time goes into seeing that.
    if (load<std::uint32_t>(window_.first + offset + page_.mapcount) != page_.free_mapcount) return std::nullopt;
    return order_at(offset, frame);
  }

 private:
  struct Window {
    std::uint64_t address = 0;          ///< the guest's, of the first byte
    std::uint64_t length = 0;           ///< bytes
    const std::byte* first = nullptr;   ///< nothing: no struct pages here
    const std::byte* second = nullptr;  ///< the same bytes a moment later; memory in use is both
  };
  template <typename Number>
  static Number load(const std::byte* at) noexcept {
    // The guest's writer may be at it. x86 keeps the order of loads; this keeps the compiler's.
    return __atomic_load_n(reinterpret_cast<const Number*>(at), __ATOMIC_ACQUIRE);
  }
  /// Of a struct page that is marked.
  std::optional<unsigned> order_at(std::uint64_t offset, std::uint64_t frame) const noexcept;
  void move_window(std::uint64_t address);
  bool map_window(std::uint64_t address, const GuestPageTable::Translation& place, const PageFrames::Run& run);
  bool copy_window(std::uint64_t address, const GuestPageTable::Translation& place, const PageFrames::Run& run);

  GuestMemory& memory_;
  const PageFrames& frames_;
  GuestPageTable& table_;
  Vmcoreinfo::StructPage page_;
  unsigned section_shift_;
  const MemorySections& sections_;
  Guest guest_;
  Window window_;
  std::vector<std::byte> copies_;
};

}  // namespace godwit::linux_guest
