// A Linux guest that only keeps books on its memory, in a fake guest's RAM: note, page tables, sections, struct pages
// and zones, laid out as a kernel lays them out. Tests then make them say what they like.
//
//   guest-physical   0 ... 16 MiB   block "low": kernel, tables, note, struct pages
//                   64 ... 80 MiB   block "high": nothing but pages to be free or used
#pragma once

#include <fmt/format.h>

#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "base/units.h"
#include "memory/guest_physical.h"
#include "tests/support/plain_memory.h"

namespace godwit::testing {

struct FakeLinuxOptions {
  unsigned levels = 4;
  bool small_pages = false;  ///< vmemmap in pages of 4 KiB that lie in no order, else in one of 2 MiB
  std::int64_t free_mapcount = -129;
  std::uint64_t encryption_mask = 0;
  std::uint64_t root_entry_size = 16;  ///< SIZE(mem_section)
  bool nodes = true;                   ///< an array of nodes, else the one
};

class FakeLinux {
 public:
  static constexpr std::uint64_t kBlock = 16 * kMiB;
  static constexpr std::uint64_t kHigh = 64 * kMiB;
  static constexpr std::uint64_t kHighFrame = kHigh / kPageSize;
  static constexpr std::uint64_t kRoot = 0x100000;      // the kernel's page table; the user's half is the page after it
  static constexpr std::uint64_t kUserRoot = 0x101000;  // maps nothing of the kernel
  static constexpr std::uint64_t kNote = 0x150000;
  static constexpr std::uint64_t kStructPages = 0x200000;                 // 2 MiB of them, of which 1.25 are used
  static constexpr std::uint64_t kFirstFreeFrame = 0x400000 / kPageSize;  // what lies below is the kernel's
  static constexpr unsigned kOrders = 11;
  static constexpr unsigned kSectionBits = 24;

  explicit FakeLinux(FakeLinuxOptions options = {}) : options_(options), memory_(layout()) {
    map_kernel();
    map_struct_pages();
    write_sections();
    write_zones();
    put_text(kUts, "Linux");
    put_text(kUts + 130, release);
    write_note();
  }

  PlainMemory& memory() { return memory_; }
  std::vector<PhysicalRange> ranges() const { return {{kHigh, kBlock, 1, 0}, {0, kBlock, 0, 0}}; }

  /// The chunk-wise page number of a frame.
  static std::uint64_t page_of(std::uint64_t frame) {
    return frame < kHighFrame ? frame : frame - kHighFrame + kBlock / kPageSize;
  }

  /// A free block of bytes that are not all the same, counted in the zone.
  void make_free(std::uint64_t frame, unsigned order) {
    mark_free(frame, order);
    count_free(order, 1);
    for (std::uint64_t i = 0; i < std::uint64_t{1} << order; ++i) put(address_of(frame + i), 0x0123456789abcdef + i);
  }
  void make_used(std::uint64_t frame, unsigned order) {
    mark_used(frame);
    count_free(order, -1);
  }
  /// The struct page only.
  void mark_free(std::uint64_t frame, unsigned order) {
    put(struct_page(frame) + 40, std::uint64_t{order});
    put(struct_page(frame) + 48, static_cast<std::uint32_t>(options_.free_mapcount));
    put(struct_page(frame) + 52, std::uint32_t{0});
  }
  void mark_used(std::uint64_t frame) {
    put(struct_page(frame) + 40, std::uint64_t{0});
    put(struct_page(frame) + 48, ~std::uint32_t{0});
    put(struct_page(frame) + 52, std::uint32_t{1});
  }
  /// The zone's books only.
  void count_free(unsigned order, int blocks) {
    const std::uint64_t at = kNode + kZones + kZoneSize + kAreas + order * kAreaSize + kFreeBlocks;
    put(at, get<std::uint64_t>(at) + static_cast<std::uint64_t>(std::int64_t{blocks}));
  }
  void fill(std::uint64_t frame, std::byte value) {
    const std::vector<std::byte> page(kPageSize, value);
    std::memcpy(bytes_at(address_of(frame)), page.data(), page.size());
  }

  /// Guest-physical address of a frame's struct page.
  std::uint64_t struct_page(std::uint64_t frame) const {
    const std::uint64_t offset = frame * 64;
    return options_.small_pages ? kStructPages + shuffled(offset / kPageSize) * kPageSize + offset % kPageSize
                                : kStructPages + offset;
  }

  template <typename T>
  void put(std::uint64_t physical, const T& value) {
    std::memcpy(bytes_at(physical), &value, sizeof value);
  }
  template <typename T>
  T get(std::uint64_t physical) {
    T value;
    std::memcpy(&value, bytes_at(physical), sizeof value);
    return value;
  }
  void put_text(std::uint64_t physical, const std::string& text) {
    std::memcpy(bytes_at(physical), text.c_str(), text.size() + 1);
  }

  /// The note's lines; write_note() after a change.
  std::map<std::string, std::string> note_lines;
  std::string release = "6.1.0-test";

  void write_note() {
    const auto line = [&](const std::string& key, const std::string& value) { note_lines.try_emplace(key, value); };
    const auto number = [&](const std::string& key, std::int64_t value) { line(key, fmt::format("{}", value)); };
    const auto symbol = [&](const std::string& name, std::uint64_t at) {
      line("SYMBOL(" + name + ")", fmt::format("{:x}", at));
    };
    line("OSRELEASE", release);
    number("PAGESIZE", 4096);
    symbol("init_uts_ns", kernel_address(kUts));
    number("OFFSET(uts_namespace.name)", 0);
    symbol("swapper_pg_dir", kernel_address(kRoot));
    number("NUMBER(phys_base)", -0x1600000);
    number("NUMBER(pgtable_l5_enabled)", options_.levels == 5);
    number("NUMBER(sme_mask)", static_cast<std::int64_t>(options_.encryption_mask));
    symbol("mem_section", direct_address(kSectionRoots));
    number("LENGTH(mem_section)", 2048);
    number("SIZE(mem_section)", static_cast<std::int64_t>(options_.root_entry_size));
    number("OFFSET(mem_section.section_mem_map)", 0);
    number("NUMBER(SECTION_SIZE_BITS)", kSectionBits);
    number("SIZE(page)", 64);
    number("OFFSET(page._refcount)", 52);
    number("OFFSET(page._mapcount)", 48);
    number("OFFSET(page.private)", 40);
    number("LENGTH(zone.free_area)", kOrders);
    number("NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)", options_.free_mapcount);
    if (options_.nodes) {
      symbol("node_data", kernel_address(kNodes));
      number("LENGTH(node_data)", 64);
    } else {
      symbol("contig_page_data", direct_address(kNode));
    }
    number("OFFSET(pglist_data.node_zones)", kZones);
    number("OFFSET(pglist_data.nr_zones)", kZoneCount);
    number("SIZE(zone)", kZoneSize);
    number("OFFSET(zone.free_area)", kAreas);
    number("SIZE(free_area)", kAreaSize);
    number("LENGTH(free_area.free_list)", 5);
    number("OFFSET(free_area.free_list)", 0);
    std::memset(bytes_at(kNote), 0, kPageSize);
    put_text(kNote, note_text());
  }
  /// As it lies in memory: the release first.
  std::string note_text() const {
    std::string text = "OSRELEASE=" + note_lines.at("OSRELEASE") + "\n";
    for (const auto& [key, value] : note_lines) {
      if (key != "OSRELEASE") text += key + "=" + value + "\n";
    }
    return text;
  }

 private:
  static constexpr std::uint64_t kTables = 0x102000;
  static constexpr std::uint64_t kUts = 0x140000;
  static constexpr std::uint64_t kNodes = 0x141000;
  static constexpr std::uint64_t kNode = 0x142000;
  static constexpr std::uint64_t kSectionRoots = 0x144000;  // 16 KiB
  static constexpr std::uint64_t kSectionEntries = 0x148000;
  static constexpr std::uint64_t kZones = 0, kZoneCount = 4096, kZoneSize = 1536, kAreas = 256, kAreaSize = 88,
                                 kFreeBlocks = 80;
  static constexpr std::uint64_t kPresent = 0x63, kLarge = 0x80;

  static RamLayout layout() {
    return *RamLayout::make({{"low", kBlock, kPageSize, {}}, {"high", kBlock, kPageSize, {}}});
  }
  static std::uint64_t address_of(std::uint64_t frame) { return frame * kPageSize; }
  static std::uint64_t kernel_address(std::uint64_t physical) { return 0xffffffff81600000 + physical; }
  std::uint64_t direct_address(std::uint64_t physical) const {
    return (options_.levels == 5 ? 0xff11000000000000 : 0xffff888000000000) + physical;
  }
  std::uint64_t vmemmap() const { return options_.levels == 5 ? 0xffd4000000000000 : 0xffffea0000000000; }
  static std::uint64_t shuffled(std::uint64_t page) { return page ^ 0x55; }

  std::byte* bytes_at(std::uint64_t physical) {
    const std::uint64_t page = page_of(physical / kPageSize);
    return memory_.at(ChunkIndex{static_cast<std::uint32_t>(page / kPagesPerChunk)},
                      static_cast<unsigned>(page % kPagesPerChunk)) +
           physical % kPageSize;
  }

  /// Maps one page of the level given (1: 4 KiB, 2: 2 MiB, 3: 1 GiB) and makes the tables above it.
  void map(std::uint64_t address, std::uint64_t physical, unsigned leaf) {
    std::uint64_t table = kRoot;
    for (unsigned level = options_.levels; level > leaf; --level) {
      const std::uint64_t entry = table + (address >> (12 + 9 * (level - 1)) & 511) * 8;
      if (get<std::uint64_t>(entry) == 0) {
        put(entry, next_table_ | kPresent | options_.encryption_mask);
        next_table_ += kPageSize;
      }
      table = get<std::uint64_t>(entry) & 0x000ffffffffff000 & ~options_.encryption_mask;
    }
    put(table + (address >> (12 + 9 * (leaf - 1)) & 511) * 8,
        physical | kPresent | (leaf > 1 ? kLarge : 0) | options_.encryption_mask);
  }
  void map_kernel() {
    map(kernel_address(0), 0, 2);
    map(direct_address(0), 0, 3);
  }
  void map_struct_pages() {
    if (!options_.small_pages) return map(vmemmap(), kStructPages, 2);
    for (std::uint64_t page = 0; page < 512; ++page) {
      map(vmemmap() + page * kPageSize, kStructPages + shuffled(page) * kPageSize, 1);
    }
  }
  void write_sections() {
    const std::uint64_t per_root = kPageSize / options_.root_entry_size;
    for (const std::uint64_t physical : {std::uint64_t{0}, kHigh}) {
      const std::uint64_t section = physical >> kSectionBits, root = section / per_root;
      put(kSectionRoots + root * 8, direct_address(kSectionEntries + root * kPageSize));
      // present, has a map, online, early; node 0
      put(kSectionEntries + root * kPageSize + section % per_root * options_.root_entry_size, vmemmap() | 15);
      for (std::uint64_t frame = physical / kPageSize; frame < (physical + kBlock) / kPageSize; ++frame) {
        mark_used(frame);
      }
    }
  }
  void write_zones() {
    put(kNodes, direct_address(kNode));
    put(kNode + kZoneCount, std::uint32_t{2});
  }

  FakeLinuxOptions options_;
  PlainMemory memory_;
  std::uint64_t next_table_ = kTables;
};

}  // namespace godwit::testing
