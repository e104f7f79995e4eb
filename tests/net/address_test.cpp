#include "net/address.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace godwit::address_test {
namespace {

struct Good {
  std::string text;
  Address address;
};

TEST(Address, ReadsAndWritesBack) {
  const std::string longest = "/" + std::string(106, 'a');
  const Good cases[] = {
      {"tcp://example.org:4444", {Address::Kind::kTcp, "example.org", 4444, ""}},
      {"tcp://127.0.0.1:0", {Address::Kind::kTcp, "127.0.0.1", 0, ""}},
      {"tcp://[::1]:65535", {Address::Kind::kTcp, "::1", 65535, ""}},
      {"tcp://[fe80::1%eth0]:1", {Address::Kind::kTcp, "fe80::1%eth0", 1, ""}},
      {"tcp://:4444", {Address::Kind::kTcp, "", 4444, ""}},
      {"tcp://my_host-1:80", {Address::Kind::kTcp, "my_host-1", 80, ""}},
      {"unix:///run/godwit.sock", {Address::Kind::kUnix, "", 0, "/run/godwit.sock"}},
      {"unix:///with space:and%20more", {Address::Kind::kUnix, "", 0, "/with space:and%20more"}},
      {"unix://" + longest, {Address::Kind::kUnix, "", 0, longest}},
  };
  for (const Good& good : cases) {
    const auto parsed = parse_address(good.text);
    ASSERT_TRUE(parsed) << parsed.error().message;
    EXPECT_EQ(*parsed, good.address) << good.text;
    EXPECT_EQ(format_address(good.address), good.text);
  }
}

TEST(Address, RefusesEverythingElseAndShowsTheForms) {
  const std::string too_long = "unix:///" + std::string(107, 'a');
  const std::string with_nul("unix:///a\0b", 11);
  const std::string cases[] = {
      "",
      "tcp://",
      "tcp://host",
      "tcp://host:",
      "tcp://host:65536",
      "tcp://host:-1",
      "tcp://host:+1",
      "tcp://host: 1",
      "tcp://host:1x",
      "tcp://host:0x10",
      "tcp://host:99999999999999999999",
      "tcp://::1:4444",
      "tcp://[::1]",
      "tcp://[::1]4444",
      "tcp://[::1:4444",
      "tcp://[]:4444",
      "tcp://[host]:4444",
      "tcp://a b:1",
      "tcp://user@host:1",
      "tcp://host/x:1",
      "tcp://" + std::string(254, 'a') + ":1",
      "TCP://host:1",
      "host:1",
      "/run/godwit.sock",
      "unix://",
      "unix://relative",
      "unix:///",
      "unix:///folder/",
      "unix:/run/x",
      too_long,
      with_nul,
  };
  for (const std::string& text : cases) {
    const auto parsed = parse_address(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().kind, ErrorKind::kInvalidArgument);
    EXPECT_THAT(parsed.error().message, ::testing::HasSubstr("tcp://HOST:PORT")) << text;
    EXPECT_THAT(parsed.error().message, ::testing::HasSubstr("unix:///")) << text;
  }
}

TEST(Address, OneToListenOnMayLeaveOpenWhatOneToConnectToMustName) {
  for (const std::string_view whole : {"tcp://host:1", "tcp://[::1]:4444", "unix:///run/godwit.sock"}) {
    EXPECT_TRUE(names_a_peer(parse_address(whole).value())) << whole;
  }
  for (const std::string_view open : {"tcp://:4444", "tcp://host:0", "tcp://:0"}) {
    EXPECT_FALSE(names_a_peer(parse_address(open).value())) << open;
  }
}

TEST(Address, SaysWhetherAnythingLeavesTheHost) {
  for (const std::string_view here :
       {"tcp://127.0.0.1:1", "tcp://127.1.2.3:1", "tcp://[::1]:1", "tcp://localhost:1", "unix:///run/godwit.sock"}) {
    EXPECT_TRUE(stays_on_host(parse_address(here).value())) << here;
  }
  for (const std::string_view out : {"tcp://host:1", "tcp://10.0.0.1:1", "tcp://0.0.0.0:1", "tcp://[::]:1", "tcp://:1",
                                     "tcp://[fe80::1]:1", "tcp://localhost.example:1", "tcp://128.0.0.1:1"}) {
    EXPECT_FALSE(stays_on_host(parse_address(out).value())) << out;
  }
}

}  // namespace
}  // namespace godwit::address_test
