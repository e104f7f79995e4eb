#include "app/printable.h"

#include <gtest/gtest.h>

namespace godwit::printable_test {
namespace {

TEST(Printable, LeavesTextAsItIs) {
  for (const char* text : {"", "vm-1, 50 %", "Grüße", "日本語", "\xf0\x9f\x98\x80", "\u00a0"}) {
    EXPECT_EQ(printable(text), text);
  }
}

TEST(Printable, LetsNothingActOnATerminal) {
  EXPECT_EQ(printable("a\x1b[2Jb\nc\x7f"), "a?[2Jb?c?");
  EXPECT_EQ(printable("a\u009b"
                      "31mb"),
            "a?31mb")
      << "C1, as UTF-8";
  EXPECT_EQ(printable("a\x9b"
                      "31mb"),
            "a?31mb")
      << "C1, as one byte";
  EXPECT_EQ(printable("a\u202eb\u2066c\u2069"), "a?b?c?");
}

TEST(Printable, KeepsWhatIsNotUtf8FromATerminal) {
  EXPECT_EQ(printable("a\xff"), "a?");
  EXPECT_EQ(printable("a\xc3"), "a?");
  EXPECT_EQ(printable("\xc0\x9b"), "??") << "longer than need be";
  EXPECT_EQ(printable("\xe0\x82\x9b"), "???");
  EXPECT_EQ(printable("\xed\xa0\x80"), "???");
  EXPECT_EQ(printable("\xf4\x90\x80\x80"), "????");
}

TEST(Printable, CutsBetweenLetters) {
  EXPECT_EQ(printable("abcdef", 6), "abcdef");
  EXPECT_EQ(printable("abcdefg", 6), "abcdef...");
  EXPECT_EQ(printable("abcde\u00fc", 6), "abcde...");
  EXPECT_EQ(printable("abcd\u00fc", 6), "abcd\u00fc");
}

}  // namespace
}  // namespace godwit::printable_test
