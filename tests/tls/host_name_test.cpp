#include "tls/host_name.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace godwit::host_name_test {
namespace {

using ::testing::HasSubstr;

TEST(HostName, DnsNamesAndAddressesAreTaken) {
  for (const std::string& name :
       {std::string("host-a"), std::string("Host-A.example.org"), std::string("10.0.0.1"), std::string("fd00::2"),
        std::string("::1"), std::string("1a"), std::string("7.example"), std::string("xn--bcher-kva.example"),
        std::string(63, 'a'),
        std::string(63, 'a') + "." + std::string(63, 'b') + "." + std::string(63, 'c') + "." + std::string(61, 'd')}) {
    const auto status = check_host_name(name);
    EXPECT_TRUE(status.has_value()) << status.error().message;
  }
}

TEST(HostName, OthersAreRefusedWithTheReason) {
  struct Case {
    std::string name;
    const char* why;
  };
  for (const Case& bad : {Case{"", "e.g. host-a"},
                          {"host_a", "letters, digits"},
                          {"host a", "letters, digits"},
                          {"*.example", "letters, digits"},
                          {"../etc", "letters, digits"},
                          {"a/b", "letters, digits"},
                          {"h\xc3\xb6st", "letters, digits"},
                          {std::string("a\0b", 3), "letters, digits"},
                          {"fe80::1%eth0", "letters, digits"},
                          {".", "between dots"},
                          {"..", "between dots"},
                          {".host", "between dots"},
                          {"host.", "between dots"},
                          {"a..b", "between dots"},
                          {"-host", "between dots"},
                          {"host-", "between dots"},
                          {std::string(64, 'a'), "between dots"},
                          {"host:1", "IPv6"},
                          {"fd00::1::2", "IPv6"},
                          {"10.0.0.256", "IPv4"},
                          {"10.0.1", "IPv4"},
                          {"4711", "IPv4"},
                          {std::string(254, 'a'), "253"}}) {
    const auto status = check_host_name(bad.name);
    ASSERT_FALSE(status.has_value()) << bad.name;
    EXPECT_EQ(status.error().kind, ErrorKind::kInvalidArgument);
    EXPECT_THAT(status.error().message, HasSubstr(bad.why));
    EXPECT_LT(status.error().message.size(), 200U);
  }
}

TEST(HostName, AddressesAreBytes) {
  EXPECT_EQ(address_bytes("10.0.0.1"), (std::vector<unsigned char>{10, 0, 0, 1}));
  EXPECT_EQ(address_bytes("::1").size(), 16U);
  EXPECT_EQ(address_bytes("host-a"), std::vector<unsigned char>{});
  EXPECT_EQ(address_bytes("10.0.0.1 "), std::vector<unsigned char>{});
}

}  // namespace
}  // namespace godwit::host_name_test
