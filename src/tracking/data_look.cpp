#include "tracking/data_look.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace godwit {
namespace {

// By a guest that runs, between a look and a count.
constexpr std::uint64_t kWrittenMeanwhile = std::uint64_t{256} << 20;

/// KERNEL: a write through a mapping has put its page into the file before, so SEEK_DATA finds it, swapped out or not.
/// PAGEMAP_SCAN would not: what a shared mapping has lost from its page table is as if it had never been there.
Status look_in_file(const TrackedRange& range, const Stretch& stretch,
                    const std::function<void(const Stretch&)>& found) {
  const int fd = range.file->get();
  const auto in_file = [&](std::uint64_t offset) { return static_cast<off_t>(range.file_offset + offset); };
  for (std::uint64_t at = stretch.begin; at < stretch.end;) {
    const off_t data = ::lseek(fd, in_file(at), SEEK_DATA);
    if (data < 0 && errno == ENXIO) return {};  // a hole up to the file's end
    if (data < 0) return fail_os("look for data in the file behind the guest's memory");
    const std::uint64_t begin = static_cast<std::uint64_t>(data) - range.file_offset;
    if (begin >= stretch.end) return {};
    // Where it ends is not asked, because that walks over all of the data that may follow the stretch.
    const std::uint64_t unit_end =
        ((range.address + begin) / ArmedStretches::kUnit + 1) * ArmedStretches::kUnit - range.address;
    at = std::min(unit_end, stretch.end);
    found({begin, at});
  }
  return {};
}

}  // namespace

bool is_all_there_is(const TrackedRange& range, std::uint64_t data_bytes) noexcept {
  if (range.populated != Populated::kInFile) return true;
  struct stat status {};
  if (::fstat(range.file->get(), &status) != 0) return false;
  constexpr std::uint64_t kBlock = 512;
  return static_cast<std::uint64_t>(status.st_blocks) * kBlock <= data_bytes + kWrittenMeanwhile;
}

Status look_for_data(PageScanner& scanner, const TrackedRange& range, const Stretch& stretch,
                     const std::function<void(const Stretch&)>& found) {
  switch (range.populated) {
    case Populated::kInFile:
      return look_in_file(range, stretch, found);
    case Populated::kInPageTable:
      return scanner.find_present(range.address + stretch.begin, stretch.length(),
                                  [&](std::uint64_t start, std::uint64_t end) {
                                    found({start - range.address, end - range.address});
                                  });
    case Populated::kUnknown:
      found(stretch);
  }
  return {};
}

}  // namespace godwit
