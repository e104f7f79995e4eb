// The parsers of QEMU's human monitor, on what 7.2 and 10.0 print, and what is made of /proc/PID/maps.
#include "vmm/qemu/ram_blocks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/units.h"

namespace godwit::qemu::ram_blocks_test {
namespace {

using ::testing::HasSubstr;

TEST(ParseRamBlocks, OfVersion7) {
  const auto lines = parse_ram_blocks(
      "              Block Name    PSize              Offset               Used              Total\r\n"
      "                  pc.ram    4 KiB  0x0000000000000000 0x0000000004000000 0x0000000004000000\r\n"
      "                   huge0    2 MiB  0x0000000004000000 0x0000000140000000 0x0000000140000000\r\n"
      "    /rom@etc/acpi/tables    4 KiB  0x0000000004080000 0x0000000000020000 0x0000000000200000\r\n");
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0].name, "pc.ram");
  EXPECT_EQ(lines[0].page_size, 4096u);
  EXPECT_EQ(lines[0].size, 64 * kMiB);
  EXPECT_FALSE(lines[0].host_address);
  EXPECT_EQ(lines[1].page_size, 2 * kMiB);
  EXPECT_EQ(lines[1].size, 5 * kGiB);
  EXPECT_EQ(lines[2].size, 128 * kKiB);  // used, not total
}

TEST(ParseRamBlocks, OfVersion10HasHostAddresses) {
  const auto lines = parse_ram_blocks(
      "              Block Name    PSize              Offset               Used              Total                HVA  "
      "RO\n"
      "                      m0    1 GiB  0x0000000000000000 0x0000000140000000 0x0000000140000000 0x00007f7fcffff000  "
      "rw\n");
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].page_size, kGiB);
  EXPECT_EQ(lines[0].host_address, 0x7f7fcffff000u);
}

TEST(ParseRamBlocks, OfOtherTextIsNothing) {
  EXPECT_TRUE(parse_ram_blocks("").empty());
  EXPECT_TRUE(parse_ram_blocks("one two three four five six\n a 4 KiB x y z\n").empty());
  EXPECT_TRUE(parse_ram_blocks("ram 99999999999999 KiB 0x0 0x1000 0x1000\n").empty());
}

constexpr const char* kMtree =
    "FlatView #0\n"
    " AS \"I/O\", root: io\n"
    " Root memory region: io\n"
    "  0000000000000000-0000000000000007 (prio 0, i/o): dma-chan\n"
    "\n"
    "FlatView #1\n"
    " AS \"cpu-smm-0\", root: memory\n"
    "  0000000000000000-00000000000bffff (prio 0, ram): other\n"
    "\n"
    "FlatView #2\n"
    " AS \"memory\", root: system\n"
    " AS \"cpu-memory-0\", root: system\n"
    " Root memory region: system\n"
    "  0000000000000000-00000000000bffff (prio 0, ram): m0 KVM\n"
    "  00000000000c0000-00000000000dffff (prio 1, rom): pc.rom\n"
    "  00000000000e0000-00000000000fffff (prio 0, rom): pc.bios @0000000000020000\n"
    "  0000000000100000-00000000bfffffff (prio 0, ram): m0 @0000000000100000 KVM\n"
    "  00000000fec00000-00000000fec00fff (prio 0, i/o): ioapic\n"
    "  0000000100000000-000000017fffffff (prio 0, ram): m0 @00000000c0000000\n"
    "\n"
    "FlatView #3\n"
    " AS \"i440FX\", root: bus master container\n"
    "  0000000000000000-00000000000bffff (prio 0, ram): nothing\n";

TEST(ParseFlatView, TakesTheRamOfAddressSpaceMemory) {
  const auto view = parse_flat_view(kMtree);
  ASSERT_EQ(view.size(), 3u);
  EXPECT_EQ(view[0].block, "m0");
  EXPECT_EQ(view[0].address, 0u);
  EXPECT_EQ(view[0].length, 0xc0000u);
  EXPECT_EQ(view[0].offset, 0u);
  EXPECT_EQ(view[1].offset, 0x100000u);
  EXPECT_EQ(view[2].address, 0x100000000u);
  EXPECT_EQ(view[2].length, 0x80000000u);
  EXPECT_EQ(view[2].offset, 0xc0000000u);
}

TEST(ParseHostAddress, KnowsTheRegion) {
  const auto found = parse_host_address("Host virtual address for 0x100000 (pc.ram) is 0x7f10a3f00000\r\n");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->region, "pc.ram");
  EXPECT_EQ(found->address, 0x7f10a3f00000u);
  EXPECT_FALSE(parse_host_address("No memory is mapped at address 0x100000000\n"));
  EXPECT_FALSE(parse_host_address("Memory at address 0xfec00000 is not RAM\n"));
  EXPECT_FALSE(parse_host_address("(x) is "));
}

Mapping mapping(std::uint64_t start, std::uint64_t end, bool shared, std::uint64_t inode, std::uint64_t offset,
                const std::string& path) {
  Mapping one;
  one.start = start;
  one.end = end;
  one.writable = true;
  one.shared = shared;
  one.inode = inode;
  one.offset = offset;
  one.path = path;
  return one;
}

TEST(Cover, TellsTheBackings) {
  const std::vector<Mapping> maps = {mapping(0x1000, 0x3000, false, 0, 0, ""),
                                     mapping(0x5000, 0x9000, true, 7, 0, "/dev/shm/ram"),
                                     mapping(0xa000, 0xc000, true, 8, 0, "/memfd:ram (deleted)"),
                                     mapping(0xd000, 0xe000, true, 9, 0, "/dev/zero (deleted)"),
                                     mapping(0xf000, 0x10000, false, 7, 0, "/dev/shm/ram")};
  EXPECT_EQ(cover(maps, 0x1000, 0x2000)->backing, Backing::kPrivate);
  EXPECT_EQ(cover(maps, 0x5000, 0x4000)->backing, Backing::kFile);
  EXPECT_EQ(cover(maps, 0xa000, 0x2000)->backing, Backing::kMemfd);
  EXPECT_EQ(cover(maps, 0xd000, 0x1000)->backing, Backing::kMemfd);
  EXPECT_EQ(cover(maps, 0xf000, 0x1000)->backing, Backing::kPrivate);
}

TEST(Cover, JoinsPiecesOfOneThing) {
  const std::vector<Mapping> maps = {mapping(0x1000, 0x3000, true, 7, 0x1000, "/ram"),
                                     mapping(0x3000, 0x5000, true, 7, 0x3000, "/ram")};
  const auto found = cover(maps, 0x2000, 0x3000);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->first.start, 0x1000u);
}

TEST(Cover, RefusesHolesAndMixtures) {
  const auto piece = mapping(0x1000, 0x3000, true, 7, 0, "/ram");
  auto readonly = piece;
  readonly.writable = false;
  const struct {
    const char* name;
    std::vector<Mapping> maps;
    ErrorKind kind;
  } cases[] = {
      {"nothing", {}, ErrorKind::kNotFound},
      {"too short", {piece}, ErrorKind::kNotFound},
      {"begins later", {mapping(0x2000, 0x6000, true, 7, 0, "/ram")}, ErrorKind::kNotFound},
      {"hole", {piece, mapping(0x4000, 0x6000, true, 7, 0x3000, "/ram")}, ErrorKind::kNotFound},
      {"other file", {piece, mapping(0x3000, 0x6000, true, 8, 0x2000, "/ram")}, ErrorKind::kUnsupported},
      {"shared and not", {piece, mapping(0x3000, 0x6000, false, 7, 0x2000, "/ram")}, ErrorKind::kUnsupported},
      {"out of order", {piece, mapping(0x3000, 0x6000, true, 7, 0x8000, "/ram")}, ErrorKind::kUnsupported},
      {"read-only", {readonly, mapping(0x3000, 0x6000, true, 7, 0x2000, "/ram")}, ErrorKind::kUnsupported},
  };
  for (const auto& one : cases) {
    const auto found = cover(one.maps, 0x1000, 0x4000);
    ASSERT_FALSE(found) << one.name;
    EXPECT_EQ(found.error().kind, one.kind) << one.name;
  }
}

}  // namespace
}  // namespace godwit::qemu::ram_blocks_test
