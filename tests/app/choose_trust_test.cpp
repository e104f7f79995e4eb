#include "app/choose_trust.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/support/godwit_temp_folder.h"
#include "tests/support/temp_key.h"

namespace godwit::testing::choose_trust_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class ChooseTrust : public ::testing::Test {
 protected:
  void SetUp() override { folder_ = std::move(TempFolder::make(std::filesystem::temp_directory_path()).value()); }
  Result<Trust> choose(const TlsOptions& options, std::string_view address) {
    return choose_trust(options, TlsSide::kClient, parse_address(address).value(), {path("none"), path("pki")});
  }
  std::string path(const std::string& name) const { return (folder_.path() / name).string(); }
  void have_certificates() {
    std::filesystem::create_directory(path("pki"));
    for (const char* name : {"ca-cert.pem", "client-cert.pem", "client-key.pem"}) std::ofstream(path("pki/") + name);
  }

 private:
  TempFolder folder_;
};

constexpr std::string_view kAway = "tcp://host-b:4444";

TEST_F(ChooseTrust, TakesCertificatesInAUsualFolderWithoutBeingTold) {
  have_certificates();
  const auto trust = choose({}, kAway);
  ASSERT_TRUE(trust) << trust.error().message;
  EXPECT_EQ(std::get<CertificateFiles>(*trust).ca, path("pki/ca-cert.pem"));
}

TEST_F(ChooseTrust, SendsNothingInTheClearWithoutBeingTold) {
  const auto trust = choose({}, kAway);
  ASSERT_FALSE(trust);
  EXPECT_EQ(trust.error().kind, ErrorKind::kInvalidArgument);
  EXPECT_THAT(trust.error().message, AllOf(HasSubstr(path("pki")), HasSubstr("--tls-dir"), HasSubstr("--tls-psk"),
                                           HasSubstr("godwit keygen"), HasSubstr("--insecure-plain")));
}

TEST_F(ChooseTrust, NamesWhatIsMissingInAFolderThatHasHalfOfIt) {
  have_certificates();
  std::filesystem::remove(path("pki/client-key.pem"));
  const auto trust = choose({}, kAway);
  ASSERT_FALSE(trust);
  EXPECT_THAT(trust.error().message, HasSubstr("client-key.pem"));
}

TEST_F(ChooseTrust, NeedsNoneWhereNothingLeavesTheHost) {
  have_certificates();
  for (const std::string_view here : {"tcp://127.0.0.1:1", "unix:///run/s"}) {
    const auto trust = choose({}, here);
    ASSERT_TRUE(trust) << trust.error().message;
    EXPECT_TRUE(std::holds_alternative<NoTrust>(*trust)) << here;
  }
}

TEST_F(ChooseTrust, DoesWhatItIsTold) {
  have_certificates();
  const auto plain = choose({.insecure_plain = true}, kAway);
  ASSERT_TRUE(plain);
  EXPECT_TRUE(std::holds_alternative<NoTrust>(*plain));
  std::filesystem::create_directory(path("keys"));
  const auto key = choose({.key_file = key_file_in(path("keys"))}, "tcp://127.0.0.1:1");
  ASSERT_TRUE(key) << key.error().message;
  EXPECT_EQ(std::get<SharedKey>(*key).identity, "tests");
  const auto none = choose({.folder = path("none")}, "unix:///run/s");
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().message, AllOf(HasSubstr("--tls-dir"), HasSubstr("ca-cert.pem")));
  const auto missing = choose({.key_file = path("none")}, kAway);
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error().message, HasSubstr("--tls-psk"));
}

TEST_F(ChooseTrust, WantsANameForTheCertificateWhereTheAddressHasNone) {
  have_certificates();
  const auto tls = make_tls({.folder = path("pki")}, TlsSide::kClient, parse_address("unix:///run/s").value());
  ASSERT_FALSE(tls);
  EXPECT_THAT(tls.error().message, HasSubstr("--tls-hostname"));
}

}  // namespace
}  // namespace godwit::testing::choose_trust_test
