#include "linux_guest/vmcoreinfo.h"

#include <fmt/format.h>

#include <charconv>
#include <map>
#include <optional>

namespace godwit::linux_guest {
namespace {

// x86-64 maps its kernel image here, whatever KASLR does; phys_base is the distance to where it lies in memory.
constexpr std::uint64_t kKernelMap = 0xffffffff80000000;

// Before OFFSET(uts_namespace.name) was in the note (5.11), a 32-bit counter was before the name.
constexpr std::int64_t kOldUtsNameOffset = 4;

// Limits. Real values: struct zone 1536, pglist_data 174 thousand, 1024 nodes, 131072 roots, 2^27 bytes a section.
constexpr std::int64_t kMaxStructure = 16 << 20;
constexpr std::int64_t kMaxNodes = 4096;
constexpr std::int64_t kMaxRoots = 1 << 20;
constexpr std::int64_t kMinSectionBits = 24;
constexpr std::int64_t kMaxSectionBits = 34;
constexpr std::int64_t kMaxMigrateTypes = 64;
constexpr std::int64_t kListHead = 16;

class Note {
 public:
  static Result<Note> split(std::string_view text);

  Result<std::string_view> text(std::string_view key) const {
    const auto found = lines_.find(key);
    if (found == lines_.end()) return fail(ErrorKind::kUnsupported, fmt::format("the note has no {}", key));
    return found->second;
  }
  bool has(std::string_view key) const { return lines_.contains(key); }

  Result<std::uint64_t> symbol(std::string_view name) const {
    return number<std::uint64_t>(fmt::format("SYMBOL({})", name), 16);
  }
  Result<std::int64_t> signed_number(std::string_view name) const {
    return number<std::int64_t>(fmt::format("NUMBER({})", name), 10);
  }
  /// `key` is SIZE(...), OFFSET(...), LENGTH(...) or NUMBER(...).
  Result<std::uint64_t> between(std::int64_t low, std::int64_t high, const std::string& key) const {
    const std::int64_t value = TRY(number<std::int64_t>(key, 10));
    if (value < low || value > high) {
      return fail(ErrorKind::kUnsupported, fmt::format("the note says {}={}", key, value));
    }
    return static_cast<std::uint64_t>(value);
  }

 private:
  template <typename Number>
  Result<Number> number(const std::string& key, int base) const {
    const std::string_view digits = TRY(text(key));
    Number value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
    if (error != std::errc{} || end != digits.data() + digits.size()) {
      return fail(ErrorKind::kUnsupported, fmt::format("the note's {} is not a number", key));
    }
    return value;
  }
  std::map<std::string_view, std::string_view> lines_;
};

Result<Note> Note::split(std::string_view text) {
  if (text.size() > kMaxNoteText) return fail(ErrorKind::kUnsupported, "the note is longer than a page");
  Note note;
  while (!text.empty()) {
    const auto end = text.find('\n');
    // The last line of a note that was cut off could be half a number.
    if (end == text.npos) return fail(ErrorKind::kUnsupported, "the note is cut off");
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 1);
    const auto equals = line.find('=');
    if (equals == line.npos) return fail(ErrorKind::kUnsupported, "the note has a line without a value");
    const auto [old, is_new] = note.lines_.emplace(line.substr(0, equals), line.substr(equals + 1));
    if (!is_new && old->second != line.substr(equals + 1)) {
      return fail(ErrorKind::kUnsupported, fmt::format("the note contradicts itself about {}", old->first));
    }
  }
  return note;
}

Status parse_page_table(const Note& note, Vmcoreinfo::PageTable& table) {
  table.symbol = TRY(note.symbol("swapper_pg_dir"));
  table.root = table.symbol - kKernelMap + static_cast<std::uint64_t>(TRY(note.signed_number("phys_base")));
  if (table.symbol < kKernelMap || table.root % 4096 != 0) {
    return fail(ErrorKind::kUnsupported, "the note's page table does not lie in the kernel");
  }
  table.levels = TRY(note.between(0, 1, "NUMBER(pgtable_l5_enabled)")) == 1 ? 5 : 4;
  if (note.has("NUMBER(sme_mask)")) {
    table.encryption_mask = static_cast<std::uint64_t>(TRY(note.signed_number("sme_mask")));
  }
  return {};
}

Status parse_sections(const Note& note, Vmcoreinfo::Sections& sections) {
  sections.roots = TRY(note.symbol("mem_section"));
  sections.root_count = TRY(note.between(1, kMaxRoots, "LENGTH(mem_section)"));
  sections.entry_size = TRY(note.between(8, 4096, "SIZE(mem_section)"));
  sections.mem_map =
      TRY(note.between(0, static_cast<std::int64_t>(sections.entry_size) - 8, "OFFSET(mem_section.section_mem_map)"));
  sections.bits =
      static_cast<unsigned>(TRY(note.between(kMinSectionBits, kMaxSectionBits, "NUMBER(SECTION_SIZE_BITS)")));
  return {};
}

Status parse_struct_page(const Note& note, unsigned section_bits, Vmcoreinfo::StructPage& page) {
  page.size = TRY(note.between(32, 512, "SIZE(page)"));
  if (4096 % page.size != 0) {
    return fail(ErrorKind::kUnsupported, fmt::format("a struct page of {} bytes lies across pages", page.size));
  }
  const auto size = static_cast<std::int64_t>(page.size);
  page.refcount = TRY(note.between(0, size - 4, "OFFSET(page._refcount)"));
  page.mapcount = TRY(note.between(0, size - 4, "OFFSET(page._mapcount)"));
  page.order = TRY(note.between(0, size - 8, "OFFSET(page.private)"));
  if (page.refcount % 4 != 0 || page.mapcount % 4 != 0 || page.order % 8 != 0) {
    return fail(ErrorKind::kUnsupported, "the note's struct page is not aligned");
  }
  // A block lies in one section.
  page.orders = static_cast<unsigned>(TRY(note.between(1, section_bits - 12 + 1, "LENGTH(zone.free_area)")));
  const auto mapcount = TRY(note.signed_number("PAGE_BUDDY_MAPCOUNT_VALUE"));
  if (mapcount < INT32_MIN || mapcount > INT64_C(0xffffffff)) {
    return fail(ErrorKind::kUnsupported, "the note's PAGE_BUDDY_MAPCOUNT_VALUE does not fit a struct page");
  }
  page.free_mapcount = static_cast<std::uint32_t>(mapcount);
  // An unmapped page's count; and what cleared memory holds. Neither can mark a free block.
  if (page.free_mapcount == ~std::uint32_t{0} || page.free_mapcount == 0) {
    return fail(ErrorKind::kUnsupported, "the note's PAGE_BUDDY_MAPCOUNT_VALUE marks nothing");
  }
  return {};
}

Status parse_zones(const Note& note, unsigned orders, Vmcoreinfo::Zones& zones) {
  if (note.has("SYMBOL(node_data)")) {
    zones.nodes = TRY(note.symbol("node_data"));
    zones.node_count = TRY(note.between(1, kMaxNodes, "LENGTH(node_data)"));
  } else {
    zones.nodes = TRY(note.symbol("contig_page_data"));
  }
  zones.zones = TRY(note.between(0, kMaxStructure, "OFFSET(pglist_data.node_zones)"));
  zones.zone_count = TRY(note.between(0, kMaxStructure, "OFFSET(pglist_data.nr_zones)"));
  const auto size = static_cast<std::int64_t>(TRY(note.between(8, kMaxStructure, "SIZE(zone)")));
  zones.zone_size = static_cast<std::uint64_t>(size);
  const auto lists = static_cast<std::int64_t>(TRY(note.between(1, kMaxMigrateTypes, "LENGTH(free_area.free_list)")));
  const auto first_list = static_cast<std::int64_t>(TRY(note.between(0, 64, "OFFSET(free_area.free_list)")));
  const std::int64_t free_blocks = first_list + lists * kListHead;
  zones.free_blocks = static_cast<std::uint64_t>(free_blocks);
  zones.area_size = TRY(note.between(free_blocks + 8, 4096, "SIZE(free_area)"));
  zones.areas = TRY(note.between(0, size, "OFFSET(zone.free_area)"));
  if (zones.areas + orders * zones.area_size > zones.zone_size) {
    return fail(ErrorKind::kUnsupported, "the note's zone is too small for its free areas");
  }
  return {};
}

}  // namespace

Result<Vmcoreinfo> parse_vmcoreinfo(std::string_view text) {
  const Note note = TRY(Note::split(text));
  Vmcoreinfo info;
  info.release = TRY(note.text("OSRELEASE"));
  // The kernel's own field is 65 bytes with its end.
  if (info.release.empty() || info.release.size() > 64) {
    return fail(ErrorKind::kUnsupported, "the note has no valid OSRELEASE");
  }
  TRY(note.between(4096, 4096, "PAGESIZE"));
  info.uts_name = TRY(note.symbol("init_uts_ns"));
  info.uts_name += note.has("OFFSET(uts_namespace.name)") ? TRY(note.between(0, 4096, "OFFSET(uts_namespace.name)"))
                                                          : static_cast<std::uint64_t>(kOldUtsNameOffset);
  TRY(parse_page_table(note, info.page_table));
  TRY(parse_sections(note, info.sections));
  TRY(parse_struct_page(note, info.sections.bits, info.page));
  TRY(parse_zones(note, info.page.orders, info.zones));
  return info;
}

}  // namespace godwit::linux_guest
