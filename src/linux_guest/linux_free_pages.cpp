#include "linux_guest/linux_free_pages.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <thread>

#include "linux_guest/buddy_walk.h"
#include "linux_guest/free_counts.h"
#include "linux_guest/kernel_check.h"
#include "linux_guest/note_search.h"
#include "linux_guest/uniform_pages.h"

namespace godwit {
namespace {

using namespace linux_guest;

// A guest that was reset often has a handful of old notes. More are planted.
constexpr unsigned kMaxNotes = 256;
constexpr unsigned kMaxLiveChecks = 16;

// A vCPU's page table may go away between its answer and our look, with the process that it belonged to.
constexpr unsigned kLiveTries = 5;

// A guest that takes and frees memory while its books are read can make them seem not to add up.
constexpr unsigned kWalks = 4;
// Pages that the walk may find fewer than the zones count: what a busy guest frees behind the walk's back. Never more.
constexpr std::uint64_t kMissingPages = 1024;
constexpr std::uint64_t kMissingPart = 64;

// A vCPU that could not be asked well is not asked again at once: others use the monitor too.
constexpr auto kBetweenSearches = std::chrono::milliseconds(2);

Status drop_holes(const GuestMemory& memory, ChunkIndex first, std::span<PageWord> pages) {
  std::vector<PageWord> holes(pages.begin(), pages.end());
  TRY(memory.keep_holes(first, holes));
  for (std::size_t i = 0; i < pages.size(); ++i) pages[i] &= ~holes[i];
  return {};
}

class LinuxFreePages final : public FreePages {
 public:
  LinuxFreePages(GuestMemory& memory, std::vector<PhysicalRange> ranges, PageTableRoots roots)
      : memory_(memory),
        frames_(memory.layout(), ranges),
        physical_(memory, std::move(ranges)),
        roots_(std::move(roots)) {}

  Status locate(std::stop_token stop, const std::function<void()>& likely) override;
  Status find(std::span<PageWord> pages) override;
  Status keep_needed(ChunkIndex first, std::span<PageWord> pages) override;
  void keep_free(std::span<PageWord> pages) override;

 private:
  Status search(std::stop_token stop, const std::function<void()>& likely);
  Status look_live(const Vmcoreinfo& info);
  Status walk(std::span<PageWord> out);
  Status find_among(std::span<PageWord> pages);
  Result<std::span<PageWord>> of_main_memory(std::span<PageWord> pages) const;

  GuestMemory& memory_;
  PageFrames frames_;
  GuestPhysical physical_;
  PageTableRoots roots_;
  std::optional<Vmcoreinfo> info_;  ///< written before `likely` is called, never after
  std::atomic<bool> fits_{false};   ///< info_ is there, and no other kernel's books fit as well
  std::vector<PageWord> walked_;    ///< kept for its capacity
  std::vector<PageWord> uniform_;   ///< of the pages asked about last, those known to be of one value
};

Status LinuxFreePages::look_live(const Vmcoreinfo& info) {
  Status status;
  for (unsigned tries = 0; tries < kLiveTries; ++tries) {
    const auto roots = TRY_IN("registers of the guest's vCPUs", roots_());
    status = check_live(info, physical_, roots);
    if (status) break;
    std::this_thread::sleep_for(kBetweenSearches);
  }
  return status;
}

Status LinuxFreePages::locate(std::stop_token stop, const std::function<void()>& likely) {
  fits_ = false;
  info_.reset();
  uniform_.clear();  // of another kernel's pages, perhaps
  const Status located = search(stop, likely);
  if (!located) fits_ = false;
  return located;
}

/// To the end, though one was found: whoever planted a note cannot take the real one away.
Status LinuxFreePages::search(std::stop_token stop, const std::function<void()>& likely) {
  unsigned notes = 0, live_checks = 0;
  std::string believed;
  bool two_kernels = false, cut_short = false;
  Error reason{ErrorKind::kUnsupported, "no VMCOREINFO note in the guest's memory", 0};
  const auto visit = [&](std::string_view text) -> Result<bool> {
    // The kernel keeps its note twice, with the same words.
    if (fits_ && text == believed) return false;
    if (++notes > kMaxNotes || live_checks == kMaxLiveChecks) {
      reason = {ErrorKind::kUnsupported, "too many VMCOREINFO notes in the guest's memory", 0};
      cut_short = true;
      return true;
    }
    auto info = parse_vmcoreinfo(text);
    Status good = info ? check_kernel(*info, physical_) : Status(fail(info.error()));
    if (good) {
      ++live_checks;
      good = look_live(*info);
    }
    if (good && !fits_) {
      info_ = *std::move(info);
      believed = text;
      fits_ = true;
      likely();
    } else if (good) {
      two_kernels = true;
    } else if (good.error().kind != ErrorKind::kUnsupported) {
      return fail(good.error());
    } else {
      reason = std::move(good).error();
    }
    return two_kernels;
  };
  TRY(search_notes(memory_, stop, visit));
  if (two_kernels) {
    return fail(ErrorKind::kUnsupported, "the guest's memory holds two VMCOREINFO notes that both fit it");
  }
  if (cut_short || !fits_) return fail(std::move(reason));
  return {};
}

Status LinuxFreePages::walk(std::span<PageWord> out) {
  GuestPageTable table(physical_, root_of(*info_));
  const MemorySections sections = TRY(read_sections(info_->sections, table, frames_.end()));
  StructPages struct_pages(memory_, frames_, table, *info_, sections, StructPages::Guest::kRunning);
  const auto before = count_free(*info_, table);
  const std::uint64_t found = mark_free(*info_, sections, frames_, struct_pages, out);
  const auto after = count_free(*info_, table);
  if (!before || !after) return fail(ErrorKind::kUnsupported, "the guest's memory zones cannot be read");
  const auto [low, high] = std::minmax(*before, *after);
  if (found > high || found + kMissingPages + low / kMissingPart < low) {
    return fail(ErrorKind::kUnsupported,
                fmt::format("the guest's books contradict themselves: {} pages are marked free, its zones count {}",
                            found, *after));
  }
  return {};
}

/// Those of `pages` that the guest keeps books on. Behind them may come other RAM that is moved, none of it free.
Result<std::span<PageWord>> LinuxFreePages::of_main_memory(std::span<PageWord> pages) const {
  const std::size_t chunks = memory_.layout().chunk_count();
  if (pages.size() < chunks) {
    return fail(ErrorKind::kInvalidArgument, fmt::format("{} chunks asked for", pages.size()));
  }
  std::ranges::fill(pages.subspan(chunks), PageWord{0});
  return pages.first(chunks);
}

Status LinuxFreePages::find_among(std::span<PageWord> pages) {
  if (!fits_) return fail(ErrorKind::kUnsupported, "the guest's memory books have not been found");
  pages = TRY(of_main_memory(pages));
  Status walked;
  for (unsigned walks = 0; walks < kWalks; ++walks) {
    walked_.assign(pages.size(), PageWord{0});
    walked = walk(walked_);
    if (walked) break;
  }
  TRY(std::move(walked));
  TRY(check_kernel(*info_, physical_));
  TRY(look_live(*info_));
  uniform_.resize(pages.size());
  for (std::size_t chunk = 0; chunk < pages.size(); ++chunk) {
    // A page that is asked about again and again waits, and is as it was when it began to; if not, it is sent: no harm.
    uniform_[chunk] &= pages[chunk];
    pages[chunk] &= walked_[chunk] & ~uniform_[chunk];
  }
  // What has no data is zero, and goes as that.
  return drop_holes(memory_, ChunkIndex{0}, pages);
}

Status LinuxFreePages::find(std::span<PageWord> pages) {
  Status status = find_among(pages);
  if (!status) std::ranges::fill(pages, PageWord{0});
  return status;
}

Status LinuxFreePages::keep_needed(ChunkIndex first, std::span<PageWord> pages) {
  // Of other RAM nothing was named.
  const std::size_t chunks = memory_.layout().chunk_count();
  pages = pages.first(std::min(pages.size(), chunks - std::min<std::size_t>(first.value, chunks)));
  // A page that was given back since it was found: to look at it would allocate it again.
  const std::vector<PageWord> asked(pages.begin(), pages.end());
  TRY(drop_holes(memory_, first, pages));
  const std::vector<PageWord> with_data(pages.begin(), pages.end());
  TRY(keep_uniform(memory_, first, pages));
  uniform_.resize(memory_.layout().chunk_count());
  for (std::size_t i = 0; i < pages.size(); ++i) {
    uniform_[first.value + i] |= pages[i];
    pages[i] |= asked[i] & ~with_data[i];
  }
  return {};
}

void LinuxFreePages::keep_free(std::span<PageWord> pages) {
  const auto keep = [&]() -> Status {
    if (!fits_) return fail(ErrorKind::kUnsupported, "nothing known");
    const auto of_main = TRY(of_main_memory(pages));
    TRY(check_kernel(*info_, physical_));
    GuestPageTable table(physical_, root_of(*info_));
    const MemorySections sections = TRY(read_sections(info_->sections, table, frames_.end()));
    StructPages struct_pages(memory_, frames_, table, *info_, sections, StructPages::Guest::kStopped);
    keep_covered(*info_, frames_, struct_pages, of_main);
    return {};
  };
  if (!keep()) std::ranges::fill(pages, PageWord{0});
}

}  // namespace

std::unique_ptr<FreePages> make_linux_free_pages(GuestMemory& memory, std::vector<PhysicalRange> ranges,
                                                 PageTableRoots page_table_roots) {
  return std::make_unique<LinuxFreePages>(memory, std::move(ranges), std::move(page_table_roots));
}

}  // namespace godwit
