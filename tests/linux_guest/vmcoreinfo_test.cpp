// The parser of a kernel's note: what it must have, and what it must not say.
#include "linux_guest/vmcoreinfo.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/fake_linux.h"

namespace godwit::linux_guest::vmcoreinfo_test {
namespace {

using godwit::testing::FakeLinux;
using ::testing::HasSubstr;

std::string refusal(std::string_view text) {
  const auto info = parse_vmcoreinfo(text);
  if (info) return "parsed";
  EXPECT_EQ(info.error().kind, ErrorKind::kUnsupported);
  return info.error().message;
}

class VmcoreinfoTest : public ::testing::Test {
 protected:
  std::string with(const std::string& key, const std::string& value) {
    auto lines = guest_.note_lines;
    lines[key] = value;
    std::string text;
    for (const auto& [name, content] : lines) text += name + "=" + content + "\n";
    return text;
  }
  FakeLinux guest_;
};

TEST_F(VmcoreinfoTest, IsParsed) {
  const auto info = parse_vmcoreinfo(guest_.note_text());
  ASSERT_TRUE(info) << info.error().message;
  EXPECT_EQ(info->release, "6.1.0-test");
  EXPECT_EQ(info->page_table.symbol, 0xffffffff81700000);
  EXPECT_EQ(info->page_table.root, FakeLinux::kRoot);
  EXPECT_EQ(info->page_table.levels, 4u);
  EXPECT_EQ(info->sections.entries_per_root(), 256u);
  EXPECT_EQ(info->page.free_mapcount, 0xffffff7f);
  EXPECT_EQ(info->page.orders, 11u);
  EXPECT_EQ(info->zones.free_blocks, 80u);
}

TEST_F(VmcoreinfoTest, OfOldKernelsHasNoOffsetOfTheName) {
  auto lines = guest_.note_lines;
  lines.erase("OFFSET(uts_namespace.name)");
  lines.erase("NUMBER(sme_mask)");
  std::string text;
  for (const auto& [name, content] : lines) text += name + "=" + content + "\n";
  const auto info = parse_vmcoreinfo(text);
  ASSERT_TRUE(info) << info.error().message;
  EXPECT_EQ(info->uts_name, 0xffffffff81740004);
}

TEST_F(VmcoreinfoTest, MustHaveEveryOtherLine) {
  for (const auto& [missing, unused] : guest_.note_lines) {
    if (missing == "OFFSET(uts_namespace.name)" || missing == "NUMBER(sme_mask)") continue;
    std::string text;
    for (const auto& [name, content] : guest_.note_lines) {
      if (name != missing) text += name + "=" + content + "\n";
    }
    const std::string named = missing == "SYMBOL(node_data)" ? "SYMBOL(contig_page_data)" : missing;
    EXPECT_EQ(refusal(text), "the note has no " + named);
  }
}

TEST_F(VmcoreinfoTest, CutOffAnywhereIsRefused) {
  const std::string text = guest_.note_text();
  for (std::size_t length = 0; length < text.size(); ++length) {
    EXPECT_NE(refusal(text.substr(0, length)), "parsed") << length;
  }
}

TEST_F(VmcoreinfoTest, RefusesWhatIsOutOfBounds) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> bad = {
      {"PAGESIZE", {"0", "16384", "4096x", "", "-1", "99999999999999999999999"}},
      {"OSRELEASE", {"", std::string(65, 'x')}},
      {"SIZE(page)", {"0", "-64", "56", "16", "1024", "18446744073709551615"}},
      {"OFFSET(page._mapcount)", {"-4", "61", "64", "50"}},
      {"OFFSET(page._refcount)", {"-4", "64", "2"}},
      {"OFFSET(page.private)", {"60", "57", "4", "-8"}},
      {"LENGTH(zone.free_area)", {"0", "-1", "14", "64", "4294967296"}},
      {"NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)", {"-1", "0", "4294967295", "4294967296", "-2147483649", "ff"}},
      {"NUMBER(SECTION_SIZE_BITS)", {"0", "12", "63", "-27"}},
      {"SIZE(mem_section)", {"0", "4", "8192", "-16"}},
      {"LENGTH(mem_section)", {"0", "-1", "9223372036854775807"}},
      {"OFFSET(mem_section.section_mem_map)", {"-8", "9", "16"}},
      {"SYMBOL(swapper_pg_dir)", {"", "0x10", "ffffffff81700001", "0", "ffff888000100000", "g"}},
      {"NUMBER(phys_base)", {"1", "abc"}},
      {"NUMBER(pgtable_l5_enabled)", {"2", "-1"}},
      {"LENGTH(node_data)", {"0", "-1", "1000000"}},
      {"SIZE(zone)", {"0", "1000", "17000000"}},
      {"OFFSET(zone.free_area)", {"-8", "1536", "600"}},
      {"SIZE(free_area)", {"87", "0", "8192"}},
      {"LENGTH(free_area.free_list)", {"0", "65", "-5"}},
      {"OFFSET(pglist_data.nr_zones)", {"-4", "99999999999"}},
  };
  for (const auto& [key, values] : bad) {
    for (const auto& value : values) EXPECT_NE(refusal(with(key, value)), "parsed") << key << "=" << value;
  }
}

TEST_F(VmcoreinfoTest, RefusesContradictionsAndNonsense) {
  const std::string text = guest_.note_text();
  EXPECT_EQ(refusal(text + std::string(kMaxNoteText, 'x')), "the note is longer than a page");
  EXPECT_EQ(refusal(text + "SIZE(page)=64\n"), "parsed");
  EXPECT_THAT(refusal(text + "SIZE(page)=32\n"), HasSubstr("contradicts itself about SIZE(page)"));
  EXPECT_THAT(refusal(text + "nothing\n"), HasSubstr("without a value"));
  EXPECT_THAT(refusal(""), HasSubstr("no OSRELEASE"));
}

}  // namespace
}  // namespace godwit::linux_guest::vmcoreinfo_test
