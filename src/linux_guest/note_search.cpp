#include "linux_guest/note_search.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "linux_guest/mapped_chunk.h"
#include "linux_guest/vmcoreinfo.h"

namespace godwit::linux_guest {
namespace {

constexpr std::size_t kChunksPerBatch = 1024;  // 256 MiB: few calls for where data is, and soon stopped
constexpr std::string_view kTextBegin = "OSRELEASE=";
constexpr std::string_view kNoteName{"VMCOREINFO\0", 11};
constexpr std::size_t kNoteHead = 24;  // three 32-bit numbers and the name, padded to a multiple of 4

std::uint32_t word(const std::byte* at) {
  std::uint32_t value = 0;
  std::memcpy(&value, at, sizeof(value));
  return value;
}

bool begins_text(const std::byte* at) {
  return std::memcmp(at, kTextBegin.data(), kTextBegin.size()) == 0;
}

bool begins_note(const std::byte* page) {
  return word(page) == kNoteName.size() && word(page + 8) == 0 &&
         std::memcmp(page + 12, kNoteName.data(), kNoteName.size()) == 0 && begins_text(page + kNoteHead);
}

class Search {
 public:
  Search(GuestMemory& memory, const VisitNote& visit) : memory_(memory), visit_(visit), pages_(kChunkSize) {}

  /// Whether to stop.
  Result<bool> look_at(ChunkIndex chunk, PageWord data) {
    PageWord candidates = 0;
    if (const auto mapped = map_small_pages(memory_, chunk)) {
      for_each_page(data, [&](unsigned page) {
        const std::byte* const begin = mapped->data() + page * kPageSize;
        if (begins_text(begin) || begins_note(begin)) candidates |= PageWord{1} << page;
      });
    } else {
      TRY(memory_.read(chunk, data, std::span(pages_).first(page_count(data) * kPageSize)));
      const std::byte* begin = pages_.data();
      for_each_page(data, [&](unsigned page) {
        if (begins_text(begin) || begins_note(begin)) candidates |= PageWord{1} << page;
        begin += kPageSize;
      });
    }
    for (; candidates != 0; candidates &= candidates - 1) {
      const bool found = TRY(visit(chunk, static_cast<unsigned>(std::countr_zero(candidates))));
      if (found) return true;
    }
    return false;
  }

 private:
  Result<bool> visit(ChunkIndex chunk, unsigned page) {
    // The note's head makes its text go on in the next page.
    std::array<std::byte, 2 * kPageSize> note{};
    TRY(memory_.read(chunk, PageWord{1} << page, std::span(note).first(kPageSize)));
    const bool has_head = begins_note(note.data());
    if (has_head) TRY(read_next(chunk, page, std::span(note).last(kPageSize)));
    std::string_view text(reinterpret_cast<const char*>(note.data()), note.size());
    text = has_head ? text.substr(kNoteHead, std::min<std::size_t>(word(note.data() + 4), kMaxNoteText))
                    : text.substr(0, kMaxNoteText);
    return visit_(text.substr(0, text.find('\0')));
  }
  Status read_next(ChunkIndex chunk, unsigned page, MutableBytes out) {
    if (++page == kPagesPerChunk) {
      page = 0;
      ++chunk.value;
    }
    const PageWord next = PageWord{1} << page;
    if (chunk.value >= memory_.layout().chunk_count() || (memory_.layout().valid_pages(chunk) & next) == 0) return {};
    return memory_.read(chunk, next, out);
  }

  GuestMemory& memory_;
  const VisitNote& visit_;
  std::vector<std::byte> pages_;
};

}  // namespace

Status search_notes(GuestMemory& memory, std::stop_token stop, const VisitNote& visit) {
  Search search(memory, visit);
  const std::uint32_t chunks = memory.layout().chunk_count();
  std::vector<PageWord> data(std::min<std::size_t>(chunks, kChunksPerBatch));
  for (std::uint32_t first = 0; first < chunks;) {
    const auto count = static_cast<std::uint32_t>(std::min<std::size_t>(chunks - first, data.size()));
    TRY(memory.find_data(ChunkIndex{first}, std::span(data).first(count)));
    for (std::uint32_t i = 0; i < count; ++i) {
      if (stop.stop_requested()) return fail(ErrorKind::kCancelled, "asked to stop");
      if (data[i] == 0) continue;
      const bool found = TRY(search.look_at(ChunkIndex{first + i}, data[i]));
      if (found) return {};
    }
    first += count;
  }
  return {};
}

}  // namespace godwit::linux_guest
