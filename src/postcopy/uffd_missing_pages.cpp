#include "postcopy/uffd_missing_pages.h"

#include <fmt/format.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <thread>

#include "base/clock.h"
#include "base/wake.h"
#include "postcopy/huge_range.h"
#include "postcopy/pages_there.h"
#include "postcopy/take_away.h"
#include "postcopy/trace.h"

namespace godwit {

namespace {

constexpr std::size_t kTouchesAtOnce = 64;
// A host that has no memory for a guest that runs already: giving up would lose it.
constexpr Duration kBetweenTries = std::chrono::milliseconds(20);
constexpr Duration kMemoryPatience = std::chrono::minutes(10);

uffdio_range range_of(std::uint64_t address, std::uint64_t length) noexcept {
  uffdio_range range{};
  range.start = address;
  range.len = length;
  return range;
}

std::span<const PageWord> words_of(const MissingRange& range, std::span<const PageWord> all) noexcept {
  return all.subspan(range.first_chunk.value, range.chunks());
}

tl::unexpected<Error> failed(std::string_view what, int number) {
  if (number == ESRCH) return fail(ErrorKind::kPeerLost, "the destination's QEMU has ended", number);
  return fail(os_error(what, number));
}

/// By whom a guest has been made to wait.
enum class Begun { kHere, kBefore };

class UffdMissingPages final : public MissingPages {
 public:
  UffdMissingPages(const RemoteProcess& process, std::vector<MissingRange> ranges, RemoteUserfaultfd userfault,
                   Begun begun = Begun::kHere)
      : process_(process),
        ranges_(std::move(ranges)),
        userfault_(std::move(userfault)),
        again_(begun == Begun::kBefore),
        begun_(again_) {}
  ~UffdMissingPages() override {
    // Of pages that are missing still somebody has to take care: what was begun goes on without this object.
    if (!begun_ || ended_) close_theirs();
  }

  bool can_wake() const noexcept { return static_cast<bool>(wake_); }
  /// Every block could be registered: nothing else tells.
  Status try_all();
  Status open_huge();

  std::string trace() const override { return trace_of(ranges_, userfault_.remote); }
  Status begin(std::span<const PageWord> missing) override;
  Result<std::vector<Touch>> await_touches() override;
  Status put(ChunkIndex chunk, PageWord pages, Bytes in) override;
  Status put_zeros(ChunkIndex chunk, PageWord pages) override;
  Status end() override;
  void interrupt() noexcept override {
    interrupted_ = true;
    wake_.wake();
  }

 private:
  Status enlist(const MissingRange& range);
  Status delist(const MissingRange& range);
  Status take_away_of(const MissingRange& range, std::span<const PageWord> missing);
  std::size_t range_with(ChunkIndex chunk) const noexcept;
  std::uint64_t address_of(ChunkIndex chunk) const noexcept;
  std::optional<Touch> touch_at(std::uint64_t address) const noexcept;
  Status copy(std::uint64_t to, Bytes from);
  Status zero(std::uint64_t address);
  Status wake(std::uint64_t address, std::uint64_t length);
  bool wait_for_memory();
  void close_theirs() noexcept;

  const RemoteProcess& process_;
  std::vector<MissingRange> ranges_;  ///< by chunk
  RemoteUserfaultfd userfault_;
  std::vector<std::unique_ptr<HugeRange>> huge_;  ///< by range; null: its pages are small
  Wake wake_;
  const bool again_;  ///< another process has begun, and put some of it in place
  bool begun_ = false;
  bool enlisted_ = false;
  bool ended_ = false;
  std::atomic<bool> interrupted_{false};
  std::atomic<Duration::rep> waited_for_memory_{0};  ///< in all
};

Status UffdMissingPages::enlist(const MissingRange& range) {
  uffdio_register wanted{};
  wanted.range = range_of(range.address, range.mapped_length());
  wanted.mode = range.is_huge() ? UFFDIO_REGISTER_MODE_MINOR : UFFDIO_REGISTER_MODE_MISSING;
  if (::ioctl(userfault_.fd.get(), UFFDIO_REGISTER, &wanted) == 0) return {};
  const int number = errno;
  if (number == EINVAL) {
    return fail(ErrorKind::kUnsupported,
                fmt::format("RAM block '{}' lies in a file on a disk, where no userfaultfd works", range.name), number);
  }
  return failed(fmt::format("UFFDIO_REGISTER RAM block '{}'", range.name), number);
}

Status UffdMissingPages::delist(const MissingRange& range) {
  auto covered = range_of(range.address, range.mapped_length());
  if (::ioctl(userfault_.fd.get(), UFFDIO_UNREGISTER, &covered) == 0) return {};
  return failed(fmt::format("UFFDIO_UNREGISTER RAM block '{}'", range.name), errno);
}

Status UffdMissingPages::open_huge() {
  for (const auto& range : ranges_) {
    huge_.push_back(range.is_huge() ? TRY(HugeRange::open(range, userfault_.fd.get())) : nullptr);
  }
  return {};
}

Status UffdMissingPages::try_all() {
  for (const auto& range : ranges_) {
    TRY(enlist(range));
    TRY(delist(range));
  }
  return {};
}

/// Registered first: whoever touches a page that has been taken away finds no zeros in its place.
Status UffdMissingPages::begin(std::span<const PageWord> missing) {
  if (!enlisted_) {
    begun_ = true;
    for (const auto& range : ranges_) TRY(enlist(range));
    enlisted_ = true;
  }
  if (again_) {
    // Whoever waits touches it once more, and is told of again: what the dead process had read is lost.
    for (std::size_t i = 0; i < ranges_.size(); ++i) {
      if (huge_[i]) huge_[i]->adopt(words_of(ranges_[i], missing));
      TRY(wake(ranges_[i].address, ranges_[i].mapped_length()));
    }
    return {};
  }
  for (std::size_t i = 0; i < ranges_.size(); ++i) {
    TRY(huge_[i] ? huge_[i]->take_away(process_, words_of(ranges_[i], missing)) : take_away_of(ranges_[i], missing));
  }
  return {};
}

Status UffdMissingPages::take_away_of(const MissingRange& range, std::span<const PageWord> missing) {
  std::vector<TakenStretch> stretches;
  for (std::uint64_t c = 0; c < range.chunks(); ++c) {
    const PageWord pages = missing[range.first_chunk.value + c];
    for_each_run(pages, [&](unsigned first, unsigned length) {
      const std::uint64_t address = range.address + c * kChunkSize + first * kPageSize;
      if (!stretches.empty() && stretches.back().address + stretches.back().length == address) {
        stretches.back().length += length * kPageSize;
      } else {
        stretches.push_back({address, length * kPageSize});
      }
    });
  }
  if (!range.file) return take_away(process_, stretches);
  for (const auto& stretch : stretches) {
    TRY(punch_hole(range.file.get(), range.file_offset + (stretch.address - range.address), stretch.length));
  }
  return {};
}

Result<std::vector<Touch>> UffdMissingPages::await_touches() {
  std::vector<Touch> touches;
  while (touches.empty()) {
    std::array<pollfd, 2> wait{pollfd{userfault_.fd.get(), POLLIN, 0}, pollfd{wake_.descriptor(), POLLIN, 0}};
    if (::poll(wait.data(), wait.size(), -1) < 0 && errno != EINTR) return fail_os("wait for touched pages");
    if (wait[1].revents != 0) return touches;
    if (wait[0].revents == 0) continue;
    std::array<uffd_msg, kTouchesAtOnce> messages;
    const ssize_t got = ::read(userfault_.fd.get(), messages.data(), sizeof messages);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (got < 0) return fail_os("read touched pages");
    if (got == 0) return fail(ErrorKind::kPeerLost, "the destination's QEMU has ended");
    for (std::size_t i = 0; i < static_cast<std::size_t>(got) / sizeof(uffd_msg); ++i) {
      if (messages[i].event != UFFD_EVENT_PAGEFAULT) continue;
      if (const auto touch = touch_at(messages[i].arg.pagefault.address)) touches.push_back(*touch);
    }
  }
  return touches;
}

std::optional<Touch> UffdMissingPages::touch_at(std::uint64_t address) const noexcept {
  for (const auto& range : ranges_) {
    if (address < range.address || address - range.address >= range.mapped_length()) continue;
    const std::uint64_t page = (address - range.address) / kPageSize;
    if (range.is_huge()) {
      const auto each = static_cast<std::uint32_t>(range.page_size / kChunkSize);
      const auto first = static_cast<std::uint32_t>(page / kPagesPerChunk) / each * each;
      return Touch{ChunkIndex{range.first_chunk.value + first}, 0, std::min(each, range.chunks() - first)};
    }
    return Touch{ChunkIndex{range.first_chunk.value + static_cast<std::uint32_t>(page / kPagesPerChunk)},
                 static_cast<unsigned>(page % kPagesPerChunk)};
  }
  return std::nullopt;
}

std::size_t UffdMissingPages::range_with(ChunkIndex chunk) const noexcept {
  const auto after = std::ranges::upper_bound(ranges_, chunk.value, {},
                                              [](const MissingRange& range) { return range.first_chunk.value; });
  return static_cast<std::size_t>(after - ranges_.begin()) - 1;
}

std::uint64_t UffdMissingPages::address_of(ChunkIndex chunk) const noexcept {
  const auto& range = ranges_[range_with(chunk)];
  return range.address + std::uint64_t{chunk.value - range.first_chunk.value} * kChunkSize;
}

Status UffdMissingPages::put(ChunkIndex chunk, PageWord pages, Bytes in) {
  const std::size_t number = range_with(chunk);
  if (huge_[number]) return huge_[number]->put(chunk.value - ranges_[number].first_chunk.value, pages, in);
  const std::uint64_t base = address_of(chunk);
  Status status;
  for_each_run(pages, [&](unsigned first, unsigned length) {
    const std::size_t size = length * kPageSize;
    if (status) status = copy(base + first * kPageSize, in.first(size));
    in = in.subspan(size);
  });
  return status;
}

/// The kernel gives up half-way where the address space is just being changed.
Status UffdMissingPages::copy(std::uint64_t to, Bytes from) {
  while (!from.empty()) {
    uffdio_copy call{};
    call.dst = to;
    call.src = reinterpret_cast<std::uint64_t>(from.data());
    call.len = from.size();
    const bool whole = ::ioctl(userfault_.fd.get(), UFFDIO_COPY, &call) == 0;
    const int number = errno;
    if (whole) return {};
    if (call.copy <= 0 && number == ENOMEM && wait_for_memory()) continue;
    if (call.copy <= 0 && number == EEXIST && again_) {
      TRY(wake(to, kPageSize));
      to += kPageSize;
      from = from.subspan(kPageSize);
      continue;
    }
    if (call.copy <= 0 && number != EAGAIN) return failed("put a page in place", number);
    if (call.copy > 0) {
      to += static_cast<std::uint64_t>(call.copy);
      from = from.subspan(static_cast<std::size_t>(call.copy));
    }
  }
  return {};
}

Status UffdMissingPages::put_zeros(ChunkIndex chunk, PageWord pages) {
  const std::size_t number = range_with(chunk);
  if (huge_[number]) return huge_[number]->put_zeros(chunk.value - ranges_[number].first_chunk.value, pages);
  const std::uint64_t base = address_of(chunk);
  Status status;
  for_each_page(pages, [&](unsigned page) {
    if (status) status = zero(base + page * kPageSize);
  });
  return status;
}

Status UffdMissingPages::zero(std::uint64_t address) {
  while (true) {
    uffdio_zeropage call{};
    call.range = range_of(address, kPageSize);
    if (::ioctl(userfault_.fd.get(), UFFDIO_ZEROPAGE, &call) == 0) return {};
    const int number = errno;
    if (number == EEXIST) return wake(address, kPageSize);
    if (number == ENOMEM && wait_for_memory()) continue;
    if (number != EAGAIN) return failed("put a page of zeros in place", number);
  }
}

Status UffdMissingPages::wake(std::uint64_t address, std::uint64_t length) {
  auto waiting = range_of(address, length);
  if (::ioctl(userfault_.fd.get(), UFFDIO_WAKE, &waiting) == 0) return {};
  return failed("wake who waited for a page", errno);
}

Status UffdMissingPages::end() {
  Status first;
  for (const auto& range : ranges_) {
    if (Status delisted = delist(range); !delisted && first) first = std::move(delisted);
  }
  ended_ = first.has_value();
  return first;
}

/// The guest waits, and somebody may make room. False: not any longer.
bool UffdMissingPages::wait_for_memory() {
  if (interrupted_) return false;
  std::this_thread::sleep_for(kBetweenTries);
  return (waited_for_memory_ += kBetweenTries.count()) < Duration(kMemoryPatience).count();
}

void UffdMissingPages::close_theirs() noexcept {
  if (userfault_.remote < 0) return;
  (void)remote_syscall(process_, SYS_close, {static_cast<std::uint64_t>(userfault_.remote)});
}

Status check_possible(const RemoteUserfaultfd& userfault) {
  if (userfault.user_mode_only) {
    return fail(ErrorKind::kUnsupported,
                "the kernel delivers faults of user mode only to QEMU (vm.unprivileged_userfaultfd)");
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<MissingPages>> reopen_missing_pages(const RemoteProcess& process, std::string_view trace,
                                                           std::span<PageWord> missing) {
  Traced traced = TRY(follow_trace(process, trace));
  TRY(clear_those_there(process, traced.ranges, missing));
  auto pages = std::make_unique<UffdMissingPages>(process, std::move(traced.ranges), std::move(traced.userfault),
                                                  Begun::kBefore);
  if (!pages->can_wake()) return fail_os("eventfd");
  TRY(pages->open_huge());
  return pages;
}

Result<std::unique_ptr<MissingPages>> open_missing_pages(const RemoteProcess& process, std::vector<MissingRange> ranges,
                                                         DescriptorLender* lender) {
  auto made = TRY(create_remote_userfaultfd(process, lender, Original::kKept));
  uffdio_api api{};
  api.api = UFFD_API;
  const bool huge = std::ranges::any_of(ranges, &MissingRange::is_huge);
  const bool in_process = std::ranges::any_of(ranges, [](const MissingRange& range) { return !range.file; });
  api.features = UFFD_FEATURE_MISSING_SHMEM | (huge ? UFFD_FEATURE_MINOR_HUGETLBFS : 0);
  const bool spoken = ::ioctl(made.fd.get(), UFFDIO_API, &api) == 0;
  const int number = errno;
  const Status possible = check_possible(made);
  auto pages = std::make_unique<UffdMissingPages>(process, std::move(ranges), std::move(made));
  if (!pages->can_wake()) return fail_os("eventfd");
  if (!spoken && huge && number == EINVAL) {
    return fail(ErrorKind::kUnsupported, "this kernel cannot make a guest wait for huge pages (before Linux 5.13)");
  }
  if (!spoken) return fail(os_error("UFFDIO_API", number));
  TRY(possible);
  TRY(pages->open_huge());
  TRY(pages->try_all());
  if (in_process) TRY(check_take_away(process));
  return pages;
}

}  // namespace godwit
