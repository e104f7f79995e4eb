// The VMCOREINFO note from a hostile guest: the text is refused, or keeps every promise that parse_vmcoreinfo() makes;
// and a guest whose note and books are arbitrary bytes ends a search for free pages, with no page outside its RAM.
#include "linux_guest/vmcoreinfo.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "linux_guest/linux_free_pages.h"
#include "tests/support/fake_linux.h"

namespace {

using namespace godwit;
using testing::FakeLinux;
using testing::PlainMemory;

void check(bool kept) {
  if (!kept) std::abort();
}

void check_text(std::string_view text) {
  const auto parsed = linux_guest::parse_vmcoreinfo(text);
  if (!parsed) {
    check(parsed.error().kind == ErrorKind::kUnsupported);
    return;
  }
  const linux_guest::Vmcoreinfo& info = *parsed;
  check(text.size() <= linux_guest::kMaxNoteText && info.release.size() <= 64);
  check(info.page_table.root % 4096 == 0);
  check(info.sections.entries_per_root() > 0 && info.sections.mem_map + 8 <= info.sections.entry_size);
  check(4096 % info.page.size == 0 && info.page.mapcount + 4 <= info.page.size);
  check(info.page.refcount + 4 <= info.page.size && info.page.order + 8 <= info.page.size);
  check(info.page.orders > 0 && std::uint64_t{1} << (info.page.orders - 1) <= info.sections.pages());
  check(info.zones.free_blocks + 8 <= info.zones.area_size);
  check(info.zones.areas + info.page.orders * info.zones.area_size <= info.zones.zone_size);
}

/// A guest whose books are right, except for what the input puts over them. All books lie in its first 4 MiB, and all
/// of these count as data: to look for it in every run would take most of the time.
class Guest final : public GuestMemory {
 public:
  Guest() { linux_.make_free(FakeLinux::kFirstFreeFrame, 5); }
  const RamLayout& layout() const noexcept override { return memory_.layout(); }
  Status read(ChunkIndex chunk, PageWord pages, MutableBytes out) const override {
    return memory_.read(chunk, pages, out);
  }
  Status write(ChunkIndex chunk, PageWord pages, Bytes in) override { return memory_.write(chunk, pages, in); }
  Status fill(ChunkIndex chunk, PageWord pages, Bytes in) override { return memory_.fill(chunk, pages, in); }
  std::optional<MutableBytes> map(ChunkIndex chunk) noexcept override {
    return mapped_ ? memory_.map(chunk) : std::nullopt;
  }
  Status discard(ChunkIndex chunk, PageWord pages) override { return memory_.discard(chunk, pages); }
  Status populate(ChunkIndex chunk, PageWord pages) override { return memory_.populate(chunk, pages); }
  Status find_data(ChunkIndex first, std::span<PageWord> out) const override {
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = (first.value + i) * kChunkSize < kBooks ? kAllPages : 0;
    return {};
  }
  Status keep_holes(ChunkIndex first, std::span<PageWord> pages) const override {
    return memory_.keep_holes(first, pages);
  }

  /// Pieces of 8 to 24 bytes, each with a place before it.
  void damage(Bytes input, bool mapped) {
    mapped_ = mapped;
    while (input.size() >= sizeof(std::uint32_t)) {
      std::uint32_t place = 0;
      std::memcpy(&place, input.data(), sizeof(place));
      input = input.subspan(sizeof(place));
      const std::size_t length = std::min<std::size_t>(input.size(), 8 + place % 3 * 8);
      for (std::size_t i = 0; i < length; ++i) {
        const std::uint64_t at = (place / 3 + i) % kBooks;
        undo_.emplace_back(at, linux_.get<std::byte>(at));
        linux_.put(at, input[i]);
      }
      input = input.subspan(length);
    }
  }
  void repair() {
    for (; !undo_.empty(); undo_.pop_back()) linux_.put(undo_.back().first, undo_.back().second);
  }
  std::vector<PhysicalRange> ranges() const { return linux_.ranges(); }

 private:
  static constexpr std::uint64_t kBooks = std::uint64_t{4} << 20;
  FakeLinux linux_;
  PlainMemory& memory_ = linux_.memory();
  bool mapped_ = true;
  std::vector<std::pair<std::uint64_t, std::byte>> undo_;
};

void check_books(Bytes input, bool mapped) {
  static Guest guest;
  guest.damage(input, mapped);
  const auto finder = make_linux_free_pages(guest, guest.ranges(), []() -> Result<std::vector<std::uint64_t>> {
    return std::vector<std::uint64_t>{FakeLinux::kRoot};
  });
  const std::size_t chunks = guest.layout().chunk_count();
  std::vector<PageWord> pages(chunks, kAllPages);
  const bool located = finder->locate({}, [] {}).has_value();
  if (!finder->find(pages)) check(std::ranges::count(pages, PageWord{0}) == std::ssize(pages));
  (void)finder->keep_needed(ChunkIndex{0}, pages);
  std::vector<PageWord> kept(chunks, kAllPages);
  finder->keep_free(kept);
  check(located || std::ranges::count(kept, PageWord{0}) == std::ssize(kept));
  guest.repair();
}

}  // namespace

// The first byte chooses: the text alone, or a guest's books.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const Bytes bytes = std::as_bytes(std::span(data + 1, size - 1));
  if (data[0] % 4 != 0) {
    check_text(text_of(bytes));
  } else {
    check_books(bytes, data[0] % 8 == 0);
  }
  return 0;
}
