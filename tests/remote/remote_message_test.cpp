#include "remote/remote_message.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace godwit::remote_message_test {
namespace {

TEST(RemoteMessage, ComesBackAsItWasSaid) {
  const auto hello = message_of(line_of(RemoteHello{.program = "godwit 1.2.3"}));
  ASSERT_TRUE(hello && std::holds_alternative<RemoteHello>(*hello));
  EXPECT_EQ(std::get<RemoteHello>(*hello).program, "godwit 1.2.3");
  EXPECT_EQ(std::get<RemoteHello>(*hello).version, kOverSshVersion);
  const auto listening = message_of(line_of(RemoteListening{parse_address("tcp://[fd00::2]:4711").value()}));
  ASSERT_TRUE(listening && std::holds_alternative<RemoteListening>(*listening));
  EXPECT_EQ(format_address(std::get<RemoteListening>(*listening).at), "tcp://[fd00::2]:4711");
  const std::string line = line_of(
      RemoteReport{.exit_code = 1, .json = "{\n \"a\": [1, {\"b\": null}]\n}\n", .text = "x\ny\n", .error = "no"});
  EXPECT_EQ(line.find('\n'), line.size() - 1) << "one line";
  const auto report = message_of(line);
  ASSERT_TRUE(report && std::holds_alternative<RemoteReport>(*report));
  EXPECT_EQ(std::get<RemoteReport>(*report).exit_code, 1);
  EXPECT_EQ(std::get<RemoteReport>(*report).json, R"({"a":[1,{"b":null}]})");
  EXPECT_EQ(std::get<RemoteReport>(*report).text, "x\ny\n");
  EXPECT_EQ(std::get<RemoteReport>(*report).error, "no");
}

TEST(RemoteMessage, IsNotFoundInAnythingElse) {
  const std::string deep = [] {
    std::string text = R"({"type":"report","exit_code":0,"report":)";
    for (int i = 0; i < 10'000; ++i) text += "{\"a\":";
    return text;
  }();
  for (const std::string& line :
       std::vector<std::string>{"",
                                "Welcome to host-b!",
                                "{",
                                "{}",
                                "[]",
                                "null",
                                R"({"type":7})",
                                R"({"type":"hello"})",
                                R"({"type":"hello","program":7,"version":1})",
                                R"({"type":"hello","program":"x","version":-1})",
                                R"({"type":"hello","program":"x","version":1e99})",
                                R"({"type":"hello","program":"x","version":1)",
                                R"({"type":"listening"})",
                                R"({"type":"listening","address":"tcp://:0"})",
                                R"({"type":"listening","address":"tcp://host-b:0"})",
                                R"({"type":"listening","address":"unix://"})",
                                R"({"type":"listening","address":"ssh://host-b/x"})",
                                R"({"type":"report"})",
                                R"({"type":"report","exit_code":"0"})",
                                R"({"type":"report","exit_code":99999999999999999999})",
                                R"({"type":"something-new","address":"tcp://host-b:1"})",
                                deep,
                                std::string(100'000, '['),
                                std::string("{\"type\":\"hello\",\"program\":\"\0\",\"version\":\"\xff\"}", 45)}) {
    EXPECT_FALSE(message_of(line).has_value()) << line.substr(0, 80);
  }
}

TEST(RemoteMessage, IsFoundBehindWhatALoginShellHasPrintedWithoutALineEnd) {
  std::string line = line_of(RemoteHello{.program = "godwit 1.2.3"});
  line.pop_back();
  for (const char* before : {"\033]0;host-b\007", "host-b$ "}) {
    const auto hello = message_of(before + line);
    ASSERT_TRUE(hello && std::holds_alternative<RemoteHello>(*hello)) << before;
    EXPECT_EQ(std::get<RemoteHello>(*hello).program, "godwit 1.2.3");
  }
}

TEST(RemoteMessage, KeepsBracketsInTextsApart) {
  const auto report =
      message_of(line_of(RemoteReport{.text = std::string(100, '{') + "\"\\\"" + std::string(100, '[')}));
  ASSERT_TRUE(report.has_value());
  EXPECT_EQ(std::get<RemoteReport>(*report).text.size(), 203U);
}

std::vector<std::string> lines_of(LineBuffer& buffer, std::string_view bytes) {
  std::vector<std::string> lines;
  buffer.add(bytes, [&](std::string_view line) { lines.emplace_back(line); });
  return lines;
}

TEST(LineBuffer, PutsPiecesTogetherAndCutsWhatIsTooLong) {
  using Lines = std::vector<std::string>;
  LineBuffer buffer(8);
  EXPECT_EQ(lines_of(buffer, "ab"), Lines{});
  EXPECT_EQ(lines_of(buffer, "c\nd\n\ne"), (Lines{"abc", "d", ""}));
  EXPECT_EQ(lines_of(buffer, std::string(1'000'000, 'x')), Lines{});
  EXPECT_EQ(lines_of(buffer, "yy\nz\nlast"), (Lines{"exxxxxxx", "z"}));
  Lines rest;
  buffer.flush([&](std::string_view line) { rest.emplace_back(line); });
  buffer.flush([&](std::string_view line) { rest.emplace_back(line); });
  EXPECT_EQ(rest, Lines{"last"});
}

}  // namespace
}  // namespace godwit::remote_message_test
