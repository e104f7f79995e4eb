#include "linux_guest/struct_pages.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>

#include "linux_guest/mapped_chunk.h"

namespace godwit::linux_guest {
namespace {

// Copying: enough for a call to cost little beside its bytes while all blocks are looked at; a page where few are.
constexpr std::uint64_t kPagesPerCopy = 16;
constexpr std::uint64_t kPagesPerCopyOfStopped = 1;

/// Whether these pages of a mapping are in memory: to touch a hole would allocate it, and SIGBUS if there is nothing
/// left to allocate. A guest may lead us to any of its pages.
/// KERNEL: mincore(2) tells it of a file only to those who may write the file; to others everything is in memory.
bool all_present(const std::byte* begin, std::size_t length) {
  const auto misaligned = reinterpret_cast<std::uintptr_t>(begin) % kPageSize;
  std::array<unsigned char, kPagesPerChunk + 1> present{};
  void* const start = const_cast<std::byte*>(begin) - misaligned;
  const std::size_t pages = (length + misaligned + kPageSize - 1) / kPageSize;
  if (pages > present.size() || ::mincore(start, length + misaligned, present.data()) != 0) return false;
  return std::all_of(present.begin(), present.begin() + static_cast<std::ptrdiff_t>(pages),
                     [](unsigned char page) { return (page & 1) != 0; });
}

}  // namespace

StructPages::StructPages(GuestMemory& memory, const PageFrames& frames, GuestPageTable& table, const Vmcoreinfo& info,
                         const MemorySections& sections, Guest guest)
    : memory_(memory),
      frames_(frames),
      table_(table),
      page_(info.page),
      section_shift_(info.sections.bits - 12),
      sections_(sections),
      guest_(guest) {}

std::optional<unsigned> StructPages::order_at(std::uint64_t offset, std::uint64_t frame) const noexcept {
  const std::byte* const page = window_.first + offset;
  if (load<std::uint32_t>(page + page_.refcount) != 0) return std::nullopt;
  const auto order = load<std::uint64_t>(page + page_.order);
  if (order >= page_.orders || (frame & ((std::uint64_t{1} << order) - 1)) != 0) return std::nullopt;
  const std::byte* const again = window_.second + offset;
  if (load<std::uint32_t>(again + page_.mapcount) != page_.free_mapcount ||
      load<std::uint64_t>(again + page_.order) != order) {
    return std::nullopt;
  }
  return static_cast<unsigned>(order);
}

void StructPages::move_window(std::uint64_t address) {
  window_ = {address & ~std::uint64_t{kPageSize - 1}, kPageSize, nullptr, nullptr};
  // A guest that says its struct pages lie across pages is not to be believed.
  if (address % page_.size != 0) return;
  const std::uint64_t page_address = window_.address;
  const auto place = table_.translate(page_address);
  if (!place) return;
  const auto run = frames_.run_of_frame(place->physical / kPageSize);
  if (!run) return;
  // A page that goes away under a mapping is a signal, under a copy an error: a guest that is paused must not wait for
  // ever.
  const bool mapped = guest_ == Guest::kRunning && map_window(page_address, *place, *run);
  if (!mapped) copy_window(page_address, *place, *run);
}

bool StructPages::map_window(std::uint64_t address, const GuestPageTable::Translation& place,
                             const PageFrames::Run& run) {
  const std::uint64_t frame = place.physical / kPageSize;
  const std::uint64_t page = run.page + (frame - run.frame);
  // As far as the leaf, the run and the chunk go on both sides: blocks are looked for downwards too.
  const std::uint64_t leaf = place.leaf_size / kPageSize;
  const std::uint64_t before = std::min({frame % leaf, frame - run.frame, page % kPagesPerChunk});
  const std::uint64_t after =
      std::min({leaf - frame % leaf, run.frame + run.count - frame, kPagesPerChunk - page % kPagesPerChunk});
  const auto mapped = map_small_pages(memory_, ChunkIndex{static_cast<std::uint32_t>(page / kPagesPerChunk)});
  if (!mapped) return false;
  const std::byte* const begin = mapped->data() + (page % kPagesPerChunk - before) * kPageSize;
  const std::uint64_t length = (before + after) * kPageSize;
  if (!all_present(begin, length)) return false;
  window_ = {address - before * kPageSize, length, begin, begin};
  return true;
}

bool StructPages::copy_window(std::uint64_t address, const GuestPageTable::Translation& place,
                              const PageFrames::Run& run) {
  const bool stopped = guest_ == Guest::kStopped;
  const std::uint64_t frame = place.physical / kPageSize;
  const std::uint64_t page = run.page + (frame - run.frame);
  const std::uint64_t in_chunk = page % kPagesPerChunk;
  const std::uint64_t leaf = place.leaf_size / kPageSize;
  const std::uint64_t pages = std::min({leaf - frame % leaf, run.frame + run.count - frame, kPagesPerChunk - in_chunk,
                                        stopped ? kPagesPerCopyOfStopped : kPagesPerCopy});
  const std::size_t length = pages * kPageSize;
  copies_.resize(2 * kPagesPerCopy * kPageSize);
  const ChunkIndex chunk{static_cast<std::uint32_t>(page / kPagesPerChunk)};
  const PageWord word = (kAllPages >> (kPagesPerChunk - pages)) << in_chunk;
  const MutableBytes first = std::span(copies_).first(length);
  const MutableBytes second = std::span(copies_).subspan(length, length);
  if (!memory_.read(chunk, word, first)) return false;
  if (!stopped && !memory_.read(chunk, word, second)) return false;
  window_ = {address, length, first.data(), stopped ? first.data() : second.data()};
  return true;
}

}  // namespace godwit::linux_guest
