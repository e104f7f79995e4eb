// What only RAM in a file does: full file systems, descriptors without write access, files that do not fit.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <sys/mount.h>

#include <array>
#include <cstdlib>
#include <filesystem>

#include "base/units.h"
#include "memory/cached_pages.h"
#include "tests/memory/backings.h"

namespace godwit::file_block_test {
namespace {

UniqueFd memfd_of(std::uint64_t size) {
  UniqueFd fd(::memfd_create("ram", MFD_CLOEXEC));
  EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(size)), 0);
  return fd;
}

std::unique_ptr<BlockAccess> block_of(const UniqueFd& fd, std::uint64_t size) {
  auto block = open_file_block(UniqueFd(::dup(fd.get())), 0, size, kPageSize);
  EXPECT_TRUE(block) << block.error().message;
  return block ? std::move(*block) : nullptr;
}

TEST(FileBlock, RefusesFilesThatDoNotFit) {
  const auto refused = [](std::uint64_t offset, std::uint64_t size, std::uint64_t page_size) {
    const auto block = open_file_block(memfd_of(kChunkSize), offset, size, page_size);
    return !block && block.error().kind == ErrorKind::kInvalidArgument;
  };
  EXPECT_FALSE(refused(0, kChunkSize, kPageSize));
  EXPECT_FALSE(refused(kPageSize, kChunkSize - kPageSize, kPageSize));
  EXPECT_TRUE(refused(kPageSize, kChunkSize, kPageSize));
  EXPECT_TRUE(refused(0, 2 * kChunkSize, kPageSize));
  EXPECT_TRUE(refused(0, 0, kPageSize));
  EXPECT_TRUE(refused(0, 100, kPageSize));
  EXPECT_TRUE(refused(100, kPageSize, kPageSize));
  EXPECT_TRUE(refused(kPageSize, kPageSize, 2 * kPageSize));
  EXPECT_TRUE(refused(~std::uint64_t{0} - kPageSize + 1, kPageSize, kPageSize));
  EXPECT_TRUE(refused(0, kPageSize, 0));
  const auto none = open_file_block(UniqueFd(), 0, kPageSize, kPageSize);
  EXPECT_FALSE(none);
}

TEST(FileBlock, WithoutWriteAccessItOnlyReads) {
  std::string path = "/dev/shm/godwit-test-XXXXXX";
  const UniqueFd writable(::mkstemp(path.data()));
  const UniqueFd readable(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  ::unlink(path.c_str());
  ASSERT_TRUE(writable && readable);
  ASSERT_EQ(::ftruncate(writable.get(), kChunkSize), 0);
  ASSERT_EQ(::pwrite(writable.get(), "bird", 4, kPageSize), 4);
  const auto block = block_of(readable, kChunkSize);
  std::vector<std::byte> page(kPageSize);
  EXPECT_TRUE(block->read(0, 2, page));
  EXPECT_EQ(text_of(page).substr(0, 4), "bird");
  EXPECT_FALSE(block->map(0, kChunkSize));
  EXPECT_FALSE(block->populate(0, 1));
  const auto written = block->write(0, 1, page);
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().kind, ErrorKind::kNoPermission);
}

TEST(FileBlock, IsLookedAtWhereItLiesAndNothingIsAllocated) {
  const UniqueFd fd = memfd_of(2 * kChunkSize);
  PageWord asked = 1;
  if (!clear_cached_pages(fd.get(), 0, {&asked, 1}).value()) GTEST_SKIP() << "no cachestat (Linux 6.5)";
  const auto block = block_of(fd, 2 * kChunkSize);
  const off_t at = kChunkSize + kPageSize;
  ASSERT_EQ(::pwrite(fd.get(), "bird", 4, at), 4);
  ASSERT_EQ(::pwrite(fd.get(), "bush", 4, at + 2 * kPageSize - 4), 4);
  struct stat before {};
  ASSERT_EQ(::fstat(fd.get(), &before), 0);
  const auto seen = block->view(kChunkSize, 0b110);
  ASSERT_TRUE(seen);
  EXPECT_EQ(text_of(seen->first(4)), "bird");
  EXPECT_EQ(text_of(seen->last(4)), "bush");
  ASSERT_EQ(::pwrite(fd.get(), "hand", 4, at), 4);
  EXPECT_EQ(text_of(seen->first(4)), "hand") << "a copy";
  EXPECT_FALSE(block->view(kChunkSize, 0b111)) << "there is a hole";
  EXPECT_FALSE(block->view(0, 1));
  struct stat after {};
  ASSERT_EQ(::fstat(fd.get(), &after), 0);
  EXPECT_EQ(after.st_blocks, before.st_blocks);
  const auto huge = open_file_block(memfd_of(2 * kMiB), 0, 2 * kMiB, 2 * kMiB).value();
  EXPECT_FALSE(huge->view(0, 1)) << "a missing huge page would be a signal";
}

TEST(FileBlock, AFileCutShortIsAnError) {
  const UniqueFd fd = memfd_of(kChunkSize);
  const auto block = block_of(fd, kChunkSize);
  ASSERT_EQ(::ftruncate(fd.get(), kPageSize), 0);
  std::vector<std::byte> page(kPageSize);
  EXPECT_TRUE(block->read(0, 1, page));
  const auto read = block->read(0, 2, page);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().kind, ErrorKind::kIo);
}

/// A file on an ext4 with blocks of 1 KiB: a page of it may begin with a hole. Or a reason.
Result<UniqueFd> file_with_small_blocks() {
  std::string folder = "/tmp/godwit-test-XXXXXX";
  if (::mkdtemp(folder.data()) == nullptr) return fail_os("make a folder in /tmp");
  const std::string made = "truncate -s 16M " + folder + "/image && mkfs.ext4 -q -F -b 1024 " + folder +
                           "/image && mkdir " + folder + "/on && mount -o loop " + folder + "/image " + folder + "/on";
  UniqueFd fd;
  if (std::system(("PATH=$PATH:/usr/sbin:/sbin; (" + made + ") >/dev/null 2>&1").c_str()) == 0) {
    fd.reset(::open((folder + "/on/ram").c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    ::umount2((folder + "/on").c_str(), MNT_DETACH);
  }
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
  if (!fd) return fail(ErrorKind::kUnsupported, "cannot mount an ext4 in a file here");
  return fd;
}

TEST(FileBlock, APageThatBeginsWithAHoleHoldsData) {
  auto fd = file_with_small_blocks();
  if (!fd) GTEST_SKIP() << fd.error().message;
  ASSERT_EQ(::ftruncate(fd->get(), kChunkSize), 0);
  ASSERT_EQ(::pwrite(fd->get(), "bird", 4, kPageSize + 1024), 4);
  ASSERT_EQ(::pwrite(fd->get(), "bird", 4, 3 * kPageSize + 3072), 4);
  const auto block = block_of(*fd, kChunkSize);
  for (const PageWord asked : {PageWord{0b11111}, PageWord{0b10}, PageWord{0b1000}, kAllPages}) {
    PageWord kept = asked;
    ASSERT_TRUE(block->keep_holes(0, {&kept, 1}));
    EXPECT_EQ(kept, asked & ~PageWord{0b1010});
  }
}

/// What is allocated there could hide as much of a hole.
TEST(FileBlock, WhatLiesBeyondTheEndIsNoProofThatThereAreNoHoles) {
  const UniqueFd odd = memfd_of(kChunkSize);
  const UniqueFd longer = memfd_of(2 * kMiB);
  ASSERT_EQ(::fallocate(longer.get(), FALLOC_FL_KEEP_SIZE, 0, 4 * kMiB), 0);
  for (const UniqueFd* fd : {&odd, &longer}) {
    ASSERT_EQ(::fallocate(fd->get(), 0, 0, kChunkSize), 0);
    PageWord asked = 0b101;
    ASSERT_TRUE(block_of(*fd, kChunkSize)->keep_where_holes_may_be(0, {&asked, 1}));
    EXPECT_EQ(asked, 0b101U);
  }
}

TEST(FileBlock, AFullFileSystemIsAnErrorAndNoSignal) {
  auto fd = testing::file_in_mount("tmpfs", "size=64k");
  if (!fd) GTEST_SKIP() << fd.error().message;
  ASSERT_EQ(::ftruncate(fd->get(), kChunkSize), 0);
  const auto block = block_of(*fd, kChunkSize);
  EXPECT_TRUE(block->populate(0, 0xff));
  const auto status = block->populate(0, kAllPages);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().kind, ErrorKind::kIo);
  EXPECT_TRUE(status.error().os_error == ENOSPC || status.error().os_error == ENOMEM) << status.error().message;
  // What was there is there still, and what is given back can be had again.
  std::vector<std::byte> page(kPageSize, std::byte{5});
  EXPECT_TRUE(block->write(0, 1, page));
  EXPECT_TRUE(block->discard(0, kAllPages));
  EXPECT_TRUE(block->populate(0, 0xff00));
}

TEST(FileBlock, AFullFileSystemEndsAFillWithAnError) {
  auto fd = testing::file_in_mount("tmpfs", "size=64k");
  if (!fd) GTEST_SKIP() << fd.error().message;
  ASSERT_EQ(::ftruncate(fd->get(), kChunkSize), 0);
  const auto block = block_of(*fd, kChunkSize);
  const std::vector<std::byte> bytes(kChunkSize, std::byte{7});
  const auto status = block->fill(0, kAllPages, bytes);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().kind, ErrorKind::kIo);
  EXPECT_TRUE(status.error().os_error == ENOSPC || status.error().os_error == ENOMEM) << status.error().message;
  ASSERT_TRUE(block->discard(0, kAllPages));
  EXPECT_TRUE(block->fill(0, 0xff00, Bytes(bytes).first(8 * kPageSize)));
}

TEST(FileBlock, NoHugePageLeftIsAnErrorAndNoSignal) {
  auto fd = testing::file_in_mount("hugetlbfs", "pagesize=2M,size=2M");
  if (!fd) GTEST_SKIP() << fd.error().message;
  ASSERT_EQ(::ftruncate(fd->get(), 2 * testing::kHugePageSize), 0);
  auto block = open_file_block(std::move(*fd), 0, 2 * testing::kHugePageSize, testing::kHugePageSize);
  ASSERT_TRUE(block);
  // The mount is limited to one huge page, so that two cannot be reserved.
  EXPECT_FALSE((*block)->map(0, kChunkSize));
  const auto status = (*block)->populate(0, 1);
  ASSERT_FALSE(status);
  EXPECT_TRUE(status.error().os_error == ENOSPC || status.error().os_error == ENOMEM) << status.error().message;
}

TEST(FileBlock, ASweepCostsOneLookPerPieceOfData) {
  // 16 GiB, of which two far pages are there: every hole is skipped in one step.
  constexpr std::uint64_t kSize = std::uint64_t{16} << 30;
  const UniqueFd fd = memfd_of(kSize);
  ASSERT_EQ(::pwrite(fd.get(), "a", 1, 5 * kChunkSize), 1);
  ASSERT_EQ(::pwrite(fd.get(), "b", 1, kSize - 1), 1);
  const auto block = block_of(fd, kSize);
  std::vector<PageWord> words(kSize / kChunkSize);
  ASSERT_TRUE(block->find_data(0, words));
  std::uint64_t pages = 0;
  for (const PageWord word : words) pages += page_count(word);
  EXPECT_EQ(pages, 2u);
  EXPECT_EQ(words[5], 1u);
  EXPECT_EQ(words.back(), PageWord{1} << 63);
}

TEST(FileBlock, TheNextSweepSeesHolesPunchedDuringTheLast) {
  const UniqueFd fd = memfd_of(8 * kChunkSize);
  const auto block = block_of(fd, 8 * kChunkSize);
  const std::vector<std::byte> bytes(8 * kChunkSize, std::byte{1});
  ASSERT_EQ(::pwrite(fd.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
  for (int sweep = 0; sweep < 3; ++sweep) {
    for (std::uint64_t chunk = 0; chunk < 8; ++chunk) {
      PageWord word = 0;
      ASSERT_TRUE(block->find_data(chunk * kChunkSize, {&word, 1}));
      // Chunk 6 is given back when the first sweep is in front of it: seen by the second at the latest.
      if (sweep > 0) {
        EXPECT_EQ(word, chunk == 6 ? 0 : kAllPages);
      }
      if (sweep == 0 && chunk == 5) {
        ASSERT_TRUE(block->discard(6 * kChunkSize, kAllPages));
      }
    }
  }
}

TEST(FileBlock, PreallocatedMemoryStaysAllocated) {
  const UniqueFd fd = memfd_of(2 * kChunkSize);
  ASSERT_EQ(::fallocate(fd.get(), 0, 0, 2 * kChunkSize), 0);
  const auto allocated = [&] {
    struct stat status {};
    return ::fstat(fd.get(), &status) == 0 ? static_cast<std::uint64_t>(status.st_blocks) * 512 : 0;
  };
  ASSERT_EQ(allocated(), 2 * kChunkSize);
  const auto block = block_of(fd, 2 * kChunkSize);
  const std::vector<std::byte> bytes(kChunkSize, std::byte{7});
  ASSERT_TRUE(block->write(0, kAllPages, bytes));
  ASSERT_TRUE(block->discard(0, 0xff00));
  ASSERT_TRUE(block->discard(kChunkSize, kAllPages));
  EXPECT_EQ(allocated(), 2 * kChunkSize);
  std::vector<std::byte> page(kPageSize);
  ASSERT_TRUE(block->read(0, PageWord{1} << 8, page));
  EXPECT_EQ(page, std::vector<std::byte>(kPageSize));
  ASSERT_TRUE(block->read(0, PageWord{1} << 7, page));
  EXPECT_EQ(page, std::vector<std::byte>(kPageSize, std::byte{7}));
}

/// What the guest has written by itself meanwhile is not what somebody has allocated for it.
TEST(FileBlock, MemoryThatFilledUpLaterIsGivenBack) {
  const UniqueFd fd = memfd_of(kChunkSize);
  const auto block = block_of(fd, kChunkSize);
  const std::vector<std::byte> bytes(kChunkSize, std::byte{7});
  ASSERT_TRUE(block->fill(0, kAllPages, bytes));
  ASSERT_TRUE(block->discard(0, 0xff));
  PageWord word = 0;
  ASSERT_TRUE(block->find_data(0, {&word, 1}));
  EXPECT_EQ(word, kAllPages & ~PageWord{0xff});
}

TEST(MemoryGroup, IsTheFirstVersionsIfThereIsOne) {
  EXPECT_EQ(memory_group("9:name=systemd:/a\n4:memory:/b\n1:cpu,cpuacct:/c\n0::/d\n"), "/b");
  EXPECT_EQ(memory_group("4:cpuset,memory:/b:c\n0::/d\n"), "/b:c");
  EXPECT_EQ(memory_group("1:cpu:/c\n0::/d\n"), "/d");
  EXPECT_EQ(memory_group("0::/machine.slice/vm.scope"), "/machine.slice/vm.scope");
  EXPECT_EQ(memory_group("nothing\n"), std::nullopt);
}

TEST(JoinBlocks, WantsTheBlocksOfTheLayout) {
  const auto layout = testing::two_blocks(kPageSize);
  const UniqueFd fd = memfd_of(testing::kFirstSize + testing::kSecondSize);
  const auto blocks = [&](std::initializer_list<std::uint64_t> sizes) {
    std::vector<std::unique_ptr<BlockAccess>> made;
    for (const auto size : sizes) made.push_back(block_of(fd, size));
    return made;
  };
  EXPECT_NE(join_blocks(layout, blocks({testing::kFirstSize, testing::kSecondSize})), nullptr);
  EXPECT_EQ(join_blocks(layout, blocks({testing::kFirstSize})), nullptr);
  EXPECT_EQ(join_blocks(layout, blocks({testing::kSecondSize, testing::kFirstSize})), nullptr);
}

}  // namespace
}  // namespace godwit::file_block_test
