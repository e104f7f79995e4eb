#include "postcopy/huge_range.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "postcopy/take_away.h"

namespace godwit {

namespace {
bool ends_with(const std::vector<std::uint64_t>& numbers, std::uint64_t number) noexcept {
  return !numbers.empty() && numbers.back() == number;
}
}  // namespace

Result<std::unique_ptr<HugeRange>> HugeRange::open(const MissingRange& range, int userfault) {
  const auto unsupported = [&](std::string_view why) {
    return fail(ErrorKind::kUnsupported, fmt::format("RAM block '{}' is in huge pages {}", range.name, why));
  };
  if (!range.file) return unsupported("of its own (share=off)");
  if (range.page_size % kChunkSize != 0) return unsupported(fmt::format("of {} bytes", range.page_size));
  void* const at = ::mmap(nullptr, range.mapped_length(), PROT_READ | PROT_WRITE, MAP_SHARED, range.file.get(),
                          static_cast<off_t>(range.file_offset));
  if (at == MAP_FAILED) return fail_os(fmt::format("map RAM block '{}'", range.name));
  return std::unique_ptr<HugeRange>(new HugeRange(range, userfault, static_cast<std::byte*>(at)));
}

HugeRange::HugeRange(const MissingRange& range, int userfault, std::byte* at)
    : range_(range),
      userfault_(userfault),
      at_(at),
      missing_(std::make_unique<std::atomic<PageWord>[]>(range.chunks())),
      left_(std::make_unique<std::atomic<std::uint32_t>[]>(range.mapped_length() / range.page_size)) {}

HugeRange::~HugeRange() {
  ::munmap(at_, range_.mapped_length());
}

HugeRange::MissingMore HugeRange::note_missing(std::span<const PageWord> missing) {
  MissingMore noted;
  for (std::uint32_t c = 0; c < missing.size() && c < range_.chunks(); ++c) {
    const PageWord more = missing[c] & ~missing_[c].fetch_or(missing[c]);
    if (more == 0) continue;
    const std::uint64_t huge = c / chunks_per_page();
    const bool fresh = left_[huge].fetch_add(static_cast<std::uint32_t>(page_count(more))) == 0;
    if (fresh) {
      noted.fresh.push_back(huge);
    } else if (!ends_with(noted.fresh, huge) && !ends_with(noted.waited, huge)) {
      noted.waited.push_back(huge);
    }
  }
  return noted;
}

void HugeRange::adopt(std::span<const PageWord> missing) {
  note_missing(missing);
}

/// A hole in the file would be filled with zeros by whoever touches it, without waiting: there must be none.
Status HugeRange::take_away(const RemoteProcess& process, std::span<const PageWord> missing) {
  const MissingMore noted = note_missing(missing);
  std::vector<TakenStretch> stretches;
  for (const std::uint64_t huge : noted.fresh) {
    const std::uint64_t offset = huge * range_.page_size;
    if (::fallocate(range_.file.get(), 0, static_cast<off_t>(range_.file_offset + offset),
                    static_cast<off_t>(range_.page_size)) != 0) {
      return fail_os(fmt::format("a huge page for RAM block '{}'", range_.name));
    }
    if (!stretches.empty() && stretches.back().address + stretches.back().length == range_.address + offset) {
      stretches.back().length += range_.page_size;
    } else {
      stretches.push_back({range_.address + offset, range_.page_size});
    }
  }
  TRY(godwit::take_away(process, stretches));
  // Whoever waits touches it once more, and all that is missing of it by now is asked for.
  for (const std::uint64_t huge : noted.waited) TRY(wake(huge));
  return {};
}

Status HugeRange::put(std::uint32_t chunk, PageWord pages, Bytes in) {
  for_each_run(pages, [&](unsigned first, unsigned length) {
    std::memcpy(byte_of(chunk, first), in.data(), length * kPageSize);
    in = in.subspan(length * kPageSize);
  });
  return have_come(chunk, pages);
}

Status HugeRange::put_zeros(std::uint32_t chunk, PageWord pages) {
  pages &= missing_[chunk].load();
  for_each_run(pages,
               [&](unsigned first, unsigned length) { std::memset(byte_of(chunk, first), 0, length * kPageSize); });
  if (pages != 0) return have_come(chunk, pages);
  const std::uint64_t huge = chunk / chunks_per_page();
  return left_[huge] == 0 ? show(huge) : Status{};
}

/// All bytes of a huge page are in place before the last of its pieces counts.
Status HugeRange::have_come(std::uint32_t chunk, PageWord pages) {
  const auto come = static_cast<std::uint32_t>(page_count(missing_[chunk].fetch_and(~pages) & pages));
  const std::uint64_t huge = chunk / chunks_per_page();
  return come != 0 && left_[huge].fetch_sub(come) == come ? show(huge) : Status{};
}

/// Mapped into the hypervisor, and who waits goes on.
Status HugeRange::show(std::uint64_t huge) {
  while (true) {
    uffdio_continue call{};
    call.range.start = range_.address + huge * range_.page_size;
    call.range.len = range_.page_size;
    if (::ioctl(userfault_, UFFDIO_CONTINUE, &call) == 0) return {};
    const int number = errno;
    if (number == EEXIST) return wake(huge);
    if (number == ESRCH) return fail(ErrorKind::kPeerLost, "the destination's QEMU has ended", number);
    if (number != EAGAIN) return fail(os_error("put a huge page in place", number));
  }
}

Status HugeRange::wake(std::uint64_t huge) {
  uffdio_range waiting{};
  waiting.start = range_.address + huge * range_.page_size;
  waiting.len = range_.page_size;
  if (::ioctl(userfault_, UFFDIO_WAKE, &waiting) == 0) return {};
  return fail_os("wake who waited for a page");
}

}  // namespace godwit
