// QEMU's own list of RAM blocks, in memory that is made here: believed if all of it agrees with what QEMU says.
#include "vmm/qemu/ram_block_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "base/units.h"

namespace godwit::qemu::ram_block_list_test {
namespace {

using ::testing::HasSubstr;

constexpr std::uint64_t kHeap = 0x555500000000;
constexpr std::uint64_t kHead = 0x555400000100;  // of the list, in QEMU's own data
constexpr std::uint64_t kRamAddress = 0x7f0000000000;
constexpr std::uint64_t kNext = 336;
constexpr std::uint64_t kPrevious = 344;

/// A process with a heap and a page of data, and a list of three blocks in it.
class ListTest : public ::testing::Test {
 protected:
  ListTest() {
    place(kHeap + 0x1230, "pc.ram", 0, 64 * kMiB, 64 * kMiB, kRamAddress);
    place(kHeap + 3 * kMiB - 64, "vga.vram", 0x4080000, 16 * kMiB, 16 * kMiB, 0x7f1000000000);
    place(kHeap + 0x9990, "/rom@etc/acpi/tables", 0x5080000, 128 * kKiB, 2 * kMiB, 0x7f2000000000);
    link({kHeap + 0x1230, kHeap + 3 * kMiB - 64, kHeap + 0x9990});
  }
  void write(std::uint64_t at, const void* from, std::size_t length) {
    std::memcpy(at >= kHeap ? heap_.data() + (at - kHeap) : data_.data() + (at - kHead + 0x100), from, length);
  }
  void write_word(std::uint64_t at, std::uint64_t value) { write(at, &value, sizeof value); }
  void place(std::uint64_t at, const std::string& name, std::uint64_t offset, std::uint64_t used, std::uint64_t most,
             std::uint64_t host) {
    write_word(at + 24, host);
    write_word(at + 40, offset);
    write_word(at + 48, used);
    write_word(at + 56, most);
    write(at + 76, name.c_str(), name.size() + 1);
  }
  void link(const std::vector<std::uint64_t>& nodes) {
    write_word(kHead, nodes.front());
    std::uint64_t before = kHead;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      write_word(nodes[i] + kPrevious, before);
      write_word(nodes[i] + kNext, i + 1 < nodes.size() ? nodes[i + 1] : 0);
      before = nodes[i] + kNext;
    }
  }
  Result<std::map<std::string, std::uint64_t>> find(const std::string& anchor = "pc.ram",
                                                    std::uint64_t address = kRamAddress) const {
    const auto read = [this](std::uint64_t at, MutableBytes out) -> Status {
      for (const auto& [start, bytes] : {std::pair{kHeap, &heap_}, std::pair{kHead - 0x100, &data_}}) {
        if (at < start || at + out.size() > start + bytes->size()) continue;
        std::memcpy(out.data(), bytes->data() + (at - start), out.size());
        return {};
      }
      return fail(ErrorKind::kIo, "no such memory");
    };
    Mapping heap{.start = kHeap, .end = kHeap + heap_.size(), .path = has_heap_ ? "[heap]" : ""};
    return find_block_list(read, {heap}, lines_, anchor, address);
  }
  void expect_not_found(const char* why) const {
    const auto found = find();
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().kind, ErrorKind::kNotFound);
    EXPECT_THAT(found.error().message, HasSubstr(why));
  }

  std::vector<std::byte> heap_ = std::vector<std::byte>(4 * kMiB);
  std::vector<std::byte> data_ = std::vector<std::byte>(4096);
  bool has_heap_ = true;
  std::vector<RamBlockLine> lines_{
      {.name = "pc.ram", .page_size = 4096, .offset = 0, .size = 64 * kMiB, .most = 64 * kMiB},
      {.name = "vga.vram", .page_size = 4096, .offset = 0x4080000, .size = 16 * kMiB, .most = 16 * kMiB},
      {.name = "/rom@etc/acpi/tables", .page_size = 4096, .offset = 0x5080000, .size = 128 * kKiB, .most = 2 * kMiB}};
};

TEST_F(ListTest, IsWalkedBothWaysFromTheBlockThatIsKnown) {
  const std::map<std::string, std::uint64_t> all{
      {"pc.ram", kRamAddress}, {"vga.vram", 0x7f1000000000}, {"/rom@etc/acpi/tables", 0x7f2000000000}};
  EXPECT_EQ(find().value(), all);
  EXPECT_EQ(find("vga.vram", 0x7f1000000000).value(), all) << "across a border of what is read at once";
  EXPECT_EQ(find("/rom@etc/acpi/tables", 0x7f2000000000).value(), all);
}

TEST_F(ListTest, MayHaveBlocksWithoutANameOrALength) {
  place(kHeap + 0x20000, "", 0x6000000, kMiB, kMiB, 0x7f3000000000);
  place(kHeap + 0x30000, "empty", 0x7000000, 0, kMiB, 0x7f4000000000);
  link({kHeap + 0x1230, kHeap + 0x20000, kHeap + 3 * kMiB - 64, kHeap + 0x30000, kHeap + 0x9990});
  lines_.push_back({.name = "empty", .page_size = 4096, .offset = 0x7000000, .size = 0, .most = kMiB});
  const auto found = find();
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->at("/rom@etc/acpi/tables"), 0x7f2000000000);
}

TEST_F(ListTest, IsNotBelievedIfTheHeapHasTheKnownBlockTwice) {
  place(kHeap + 0x40000, "pc.ram", 0, 64 * kMiB, 64 * kMiB, kRamAddress);
  expect_not_found("its heap has 'pc.ram' twice");
}

TEST_F(ListTest, IsNotBelievedIfABlockIsOtherwiseThanQemuSays) {
  write_word(kHeap + 0x9990 + 48, 256 * kKiB);
  expect_not_found("has '/rom@etc/acpi/tables' otherwise than it says");
}

TEST_F(ListTest, IsNotBelievedIfItHasABlockTwice) {
  place(kHeap + 0x40000, "vga.vram", 0x4080000, 16 * kMiB, 16 * kMiB, 0x7f5000000000);
  link({kHeap + 0x1230, kHeap + 3 * kMiB - 64, kHeap + 0x40000, kHeap + 0x9990});
  expect_not_found("has 'vga.vram' twice");
}

TEST_F(ListTest, IsNotBelievedIfABlockIsNotInIt) {
  lines_.push_back({.name = "pc.rom", .page_size = 4096, .offset = 0x8000000, .size = 4096, .most = 4096});
  expect_not_found("does not have 'pc.rom'");
}

TEST_F(ListTest, IsNotBelievedIfItHasABlockThatQemuDoesNotName) {
  lines_.pop_back();
  expect_not_found("has '/rom@etc/acpi/tables' otherwise");
}

TEST_F(ListTest, IsNotBelievedIfItIsNotLinkedBothWays) {
  write_word(kHeap + 0x9990 + kPrevious, kHead);
  expect_not_found("is not linked as expected");
}

TEST_F(ListTest, IsNotBelievedIfItGoesRoundInACircle) {
  write_word(kHeap + 0x9990 + kNext, kHeap + 0x1230);
  write_word(kHeap + 0x1230 + kPrevious, kHeap + 0x9990 + kNext);
  expect_not_found("has 'pc.ram' twice");
}

/// A guest that knew QEMU's addresses could put bytes into its heap that look like a list.
TEST_F(ListTest, IsNotBelievedIfItsHeadIsInTheHeapOrElsewhere) {
  write_word(kHead, 0);
  expect_not_found("has no head");
  write_word(kHeap + 0x50000, kHeap + 0x1230);
  write_word(kHeap + 0x1230 + kPrevious, kHeap + 0x50000);
  expect_not_found("has no head");
}

TEST_F(ListTest, IsNotFoundWhereTheKnownBlockIsElsewhere) {
  const auto found = find("pc.ram", kRamAddress + 4096);
  ASSERT_FALSE(found);
  EXPECT_THAT(found.error().message, HasSubstr("does not have 'pc.ram' as expected"));
  has_heap_ = false;
  expect_not_found("it has no heap");
}

TEST_F(ListTest, ThatLeadsOutOfMemoryIsAnError) {
  write_word(kHeap + 0x9990 + kNext, 0x123456);
  EXPECT_FALSE(find());
}

}  // namespace
}  // namespace godwit::qemu::ram_block_list_test
