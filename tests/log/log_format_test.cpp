#include "log/log_format.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace godwit {
namespace {

using namespace std::chrono_literals;

TEST(LogFormat, PlainWordsStandAsTheyAre) {
  EXPECT_EQ(log_value("vm1"), "vm1");
  EXPECT_EQ(log_value("tcp://[fd00::2]:4444"), "tcp://[fd00::2]:4444");
  EXPECT_EQ(log_value("b\u00fcro-\u65e5"), "b\u00fcro-\u65e5");
}

TEST(LogFormat, OthersStandInQuotes) {
  EXPECT_EQ(log_value(""), R"("")");
  EXPECT_EQ(log_value("two words"), R"("two words")");
  EXPECT_EQ(log_value("a=b"), R"("a=b")");
  EXPECT_EQ(log_value(R"(say "x" \)"), R"("say \"x\" \\")");
}

TEST(LogFormat, ControlCharactersAndWhatIsNoUtf8AreEscaped) {
  EXPECT_EQ(log_value("a\nb\r\tc"), R"("a\nb\r\tc")");
  EXPECT_EQ(log_value(std::string_view("\0\x1b[2J\x7f", 6)), R"("\x00\x1b[2J\x7f")");
  EXPECT_EQ(log_value("\xc2\x9b"), R"("\xc2\x9b")") << "C1: terminals obey it";
  EXPECT_EQ(log_value("\xe2\x80\xa8"), R"("\xe2\x80\xa8")") << "U+2028 ends a line";
  EXPECT_EQ(log_value("\xff"), R"("\xff")");
  EXPECT_EQ(log_value("\xc0\xaf"), R"("\xc0\xaf")") << "not the shortest form";
  EXPECT_EQ(log_value("\xe0\x80\xaf"), R"("\xe0\x80\xaf")") << "not the shortest form";
  EXPECT_EQ(log_value("\xed\xa0\x80"), R"("\xed\xa0\x80")") << "a surrogate";
  EXPECT_EQ(log_value("\xf4\x90\x80\x80"), R"("\xf4\x90\x80\x80")") << "past the end of Unicode";
  EXPECT_EQ(log_value("x\xe2\x82"), R"("x\xe2\x82")") << "cut";
}

TEST(LogFormat, EverySingleByteGivesOneLine) {
  for (int byte = 0; byte < 256; ++byte) {
    const std::string value = log_value(std::string(1, static_cast<char>(byte)));
    EXPECT_TRUE(std::ranges::all_of(value, [](unsigned char c) { return c >= 0x20 && c < 0x7f; })) << byte;
  }
}

TEST(LogFormat, AValueIsCut) {
  const std::string cut = log_value(std::string(100'000, 'x'));
  EXPECT_LT(cut.size(), 5000U);
  EXPECT_TRUE(cut.ends_with("...\"")) << cut.substr(cut.size() - 10);
}

TEST(LogFormat, NumbersOfAllKinds) {
  const std::string text = "text";  // A field only refers to it.
  const std::vector<LogField> fields{{"a", -5},  {"b", ~std::uint64_t{0}}, {"c", 0.25}, {"d", false}, {"e", -3us},
                                     {"f", text}};
  EXPECT_EQ(log_line({.at = {}, .level = LogLevel::kError, .event = "x", .fields = fields}),
            "1970-01-01T00:00:00.000000Z error elapsed_us=0 event=x a=-5 b=18446744073709551615 c=0.25 d=false e_us=-3 "
            "f=text\n");
}

TEST(LogFormat, AJournalDatagramHasEachFieldOnALineOfItsOwn) {
  const std::vector<LogField> fields{{"pages", 812}, {"took", 3100us}, {"why", "a\nPRIORITY=0"}};
  EXPECT_EQ(
      journal_datagram(
          {.at = {}, .level = LogLevel::kWarning, .id = "3f2a", .elapsed = 7us, .event = "harvest", .fields = fields}),
      "MESSAGE=harvest pages=812 took_us=3100 why=\"a\\nPRIORITY=0\"\n"
      "PRIORITY=4\n"
      "SYSLOG_IDENTIFIER=godwit\n"
      "GODWIT_ID=3f2a\n"
      "GODWIT_EVENT=harvest\n"
      "GODWIT_ELAPSED_US=7\n"
      "GODWIT_PAGES=812\n"
      "GODWIT_TOOK_US=3100\n"
      "GODWIT_WHY=\"a\\nPRIORITY=0\"\n");
}

}  // namespace
}  // namespace godwit
