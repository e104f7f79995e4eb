// What only another process's private memory does: processes that end, pages that only look present.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include <array>

#include "base/kernel_abi.h"
#include "memory/pagemap.h"
#include "tests/memory/backings.h"

namespace godwit::process_block_test {
namespace {

using testing::map_private;
using testing::Sleeper;

std::uint64_t number(const std::byte* address) {
  return reinterpret_cast<std::uint64_t>(address);
}

/// Memory of this process, seen through /proc/self as another's would be.
struct Own {
  std::byte* memory = map_private(kChunkSize);
  UniqueFd pagemap{::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC)};
  Own() = default;
  ~Own() { ::munmap(memory, kChunkSize); }
  Own(const Own&) = delete;
  Own& operator=(const Own&) = delete;

  PageWord find(Pagemap::Use use = Pagemap::Use::kScanIfPossible) const {
    PageWord word = 0;
    const auto status = Pagemap(UniqueFd(::dup(pagemap.get())), use).find_data(number(memory), kChunkSize, {&word, 1});
    EXPECT_TRUE(status) << status.error().message;
    return word;
  }
};

TEST(ProcessBlock, AnEndedProcessIsLost) {
  std::byte* const memory = map_private(kChunkSize);
  Sleeper child;
  ::munmap(memory, kChunkSize);
  auto block = open_process_block(child.pid(), number(memory), kChunkSize, child.pagemap());
  ASSERT_TRUE(block) << block.error().message;
  std::vector<std::byte> page(kPageSize);
  ASSERT_TRUE((*block)->write(0, 1, page));
  const pid_t pid = child.pid();
  child.end();
  const auto lost = [](const Status& status) { return !status && status.error().kind == ErrorKind::kPeerLost; };
  EXPECT_TRUE(lost((*block)->read(0, 1, page)));
  EXPECT_TRUE(lost((*block)->write(0, 1, page)));
  PageWord word = 0;
  EXPECT_TRUE(lost((*block)->find_data(0, {&word, 1}))) << "an ended process must not look like an empty one";
  EXPECT_TRUE(lost((*block)->discard(0, 1)));
  const auto again = open_process_block(pid, number(memory), kChunkSize, UniqueFd());
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().kind, ErrorKind::kPeerLost);
}

/// More than is looked at by one call.
TEST(ProcessBlock, KeepsTheHolesOfALongStretch) {
  constexpr std::size_t kChunks = 70;
  std::byte* const memory = map_private(kChunks * kChunkSize);
  std::vector<PageWord> asked(kChunks, kAllPages), expected(kChunks);
  asked[3] = asked[40] = 0;
  for (std::size_t page = 0; page < kChunks * kPagesPerChunk; ++page) {
    const PageWord bit = PageWord{1} << page % kPagesPerChunk;
    if (page % 7 == 3) {
      expected[page / kPagesPerChunk] |= bit & asked[page / kPagesPerChunk];
    } else {
      memory[page * kPageSize] = std::byte{1};
    }
  }
  const UniqueFd pagemap{::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC)};
  const auto block =
      open_process_block(::getpid(), number(memory), kChunks * kChunkSize, UniqueFd(::dup(pagemap.get())));
  ASSERT_TRUE(block) << block.error().message;
  ASSERT_TRUE((*block)->keep_holes(0, asked));
  EXPECT_EQ(asked, expected);
  ::munmap(memory, kChunks * kChunkSize);
}

TEST(ProcessBlock, WhatIsNotMappedIsNotFound) {
  Own own;
  const auto open = [&](std::uint64_t address, std::uint64_t size) {
    const auto block = open_process_block(::getpid(), address, size, UniqueFd(::dup(own.pagemap.get())));
    return block ? std::optional<ErrorKind>() : block.error().kind;
  };
  EXPECT_EQ(open(number(own.memory), kChunkSize), std::nullopt);
  EXPECT_EQ(open(kPageSize, kPageSize), ErrorKind::kNotFound);
  EXPECT_EQ(open(number(own.memory) + 1, kPageSize), ErrorKind::kInvalidArgument);
  EXPECT_EQ(open(number(own.memory), 100), ErrorKind::kInvalidArgument);
  EXPECT_EQ(open(number(own.memory), 0), ErrorKind::kInvalidArgument);
  EXPECT_EQ(open(~std::uint64_t{0} - kPageSize + 1, 2 * kPageSize), ErrorKind::kInvalidArgument);
}

TEST(ProcessBlock, MemoryThatGoesAwayIsNotFoundAndNothingBeforeItIsWrong) {
  Own own;
  auto block = open_process_block(::getpid(), number(own.memory), kChunkSize, UniqueFd(::dup(own.pagemap.get())));
  ASSERT_TRUE(block);
  ASSERT_EQ(::munmap(own.memory + 8 * kPageSize, kPageSize), 0);
  std::vector<std::byte> bytes(16 * kPageSize, std::byte{1});
  const auto written = (*block)->write(0, 0xffff, bytes);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().kind, ErrorKind::kNotFound);
  EXPECT_TRUE((*block)->write(0, 0xfeff, Bytes(bytes).first(15 * kPageSize)));
  EXPECT_FALSE((*block)->read(0, 0x1ff, MutableBytes(bytes).first(9 * kPageSize)));
}

TEST(ProcessBlock, TheKernelsZeroPageIsNoData) {
  if (!testing::kernel_has_zero_page()) GTEST_SKIP() << "this kernel has no page of zeros";
  Own own;
  own.memory[3 * kPageSize] = std::byte{1};
  const std::byte untouched = *const_cast<volatile std::byte*>(own.memory + 5 * kPageSize);
  EXPECT_EQ(untouched, std::byte{0});
  if (own.find(Pagemap::Use::kEntriesOnly) == own.find()) GTEST_SKIP() << "this kernel has no PAGEMAP_SCAN";
  EXPECT_EQ(own.find(), PageWord{1} << 3);
  EXPECT_EQ(own.find(Pagemap::Use::kEntriesOnly), PageWord{1} << 3 | PageWord{1} << 5);
}

TEST(ProcessBlock, BothWaysOfLookingAgree) {
  Own own;
  for (const unsigned page : {0u, 1u, 17u, 63u}) own.memory[page * kPageSize] = std::byte{1};
  const PageWord expected = PageWord{1} << 63 | PageWord{1} << 17 | 3;
  EXPECT_EQ(own.find(), expected);
  EXPECT_EQ(own.find(Pagemap::Use::kEntriesOnly), expected);
}

TEST(ProcessBlock, MarkersOfADirtyTrackerAreNoData) {
  Own own;
  own.memory[2 * kPageSize] = std::byte{1};
  // As a tracker does: asynchronous write-protection of everything, touched or not.
  const UniqueFd fault_fd(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | kUserModeOnly)));
  if (!fault_fd) GTEST_SKIP() << "no userfaultfd";
  uffdio_api api{.api = UFFD_API, .features = kWriteProtectUnpopulated | kWriteProtectAsync, .ioctls = 0};
  if (::ioctl(fault_fd.get(), UFFDIO_API, &api) != 0) GTEST_SKIP() << "no asynchronous write-protection (Linux 6.7)";
  uffdio_register all{
      .range = {.start = number(own.memory), .len = kChunkSize}, .mode = UFFDIO_REGISTER_MODE_WP, .ioctls = 0};
  ASSERT_EQ(::ioctl(fault_fd.get(), UFFDIO_REGISTER, &all), 0);
  std::array<PagemapRegion, 8> regions;
  PagemapScan scan;
  scan.flags = kScanWriteProtects | kScanChecksAsyncArmed;
  scan.start = number(own.memory);
  scan.end = number(own.memory) + kChunkSize;
  scan.regions = reinterpret_cast<std::uint64_t>(regions.data());
  scan.regions_length = regions.size();
  scan.required = kPageIsWritten;
  scan.returned = kPageIsWritten;
  ASSERT_GE(::ioctl(own.pagemap.get(), kPagemapScan, &scan), 0);
  own.memory[9 * kPageSize] = std::byte{1};

  const PageWord expected = PageWord{1} << 2 | PageWord{1} << 9;
  const PageWord found = own.find();
  EXPECT_EQ(expected & ~found, 0u);
  if (::geteuid() != 0) GTEST_SKIP() << "only root is shown what a marker is";
  EXPECT_EQ(found, expected);
  EXPECT_EQ(own.find(Pagemap::Use::kEntriesOnly), expected);
}

TEST(ProcessBlock, PrivateMemoryOfAFileIsAllData) {
  // Pages that nobody touched are not in the page table, but in the file.
  const UniqueFd file(::memfd_create("ram", MFD_CLOEXEC));
  ASSERT_EQ(::ftruncate(file.get(), kChunkSize), 0);
  ASSERT_EQ(::pwrite(file.get(), "bird", 4, 7 * kPageSize), 4);
  void* const address = ::mmap(nullptr, kChunkSize, PROT_READ | PROT_WRITE, MAP_PRIVATE, file.get(), 0);
  ASSERT_NE(address, MAP_FAILED);
  auto block = open_process_block(::getpid(), reinterpret_cast<std::uint64_t>(address), kChunkSize,
                                  UniqueFd(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC)));
  ASSERT_TRUE(block);
  PageWord word = 0;
  EXPECT_TRUE((*block)->find_data(0, {&word, 1}));
  EXPECT_EQ(word, kAllPages);
  std::vector<std::byte> page(kPageSize);
  EXPECT_TRUE((*block)->read(0, 1 << 7, page));
  EXPECT_EQ(text_of(page).substr(0, 4), "bird");
  ::munmap(address, kChunkSize);
}

}  // namespace
}  // namespace godwit::process_block_test
