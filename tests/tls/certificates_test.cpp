// Two sides that trust each other by certificates, or find out why they do not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "tests/support/godwit_temp_folder.h"
#include "tests/tls/two_sides.h"
#include "tls/issuer.h"

namespace godwit::testing::certificates_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr std::time_t kDay = 24 * 3600;

template <typename T>
T must(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(*result);
}

ValidFor days(int from, int until) {
  const std::time_t now = std::time(nullptr);
  return {now + from * kDay, now + until * kDay};
}

class Certificates : public TwoSides {
 protected:
  void SetUp() override { folder_ = must(TempFolder::make(std::filesystem::temp_directory_path())); }

  std::string file(const std::string& name, const std::string& text) {
    const auto path = folder_.path() / name;
    std::ofstream(path) << text;
    std::filesystem::permissions(path, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
    return path.string();
  }

  /// What a side has that shows `shown` and trusts `ca`.
  CertificateFiles files(const std::string& side, const Issuer& ca, const Issued& shown, const std::string& crl = "") {
    return {.ca = file(side + "-ca.pem", ca.certificate()),
            .crl = crl.empty() ? "" : file(side + "-crl.pem", crl),
            .certificate = file(side + "-cert.pem", shown.certificate),
            .key = file(side + "-key.pem", shown.key)};
  }
  static Issued issue(const Issuer& ca, const std::vector<std::string>& names, CertificateUse use, ValidFor valid) {
    return must(ca.issue(names, use, valid));
  }
  Issued server_of(const Issuer& ca, ValidFor valid = days(-1, 30)) const {
    return issue(ca, {"host-b", "10.0.0.2"}, CertificateUse::kServer, valid);
  }
  Issued client_of(const Issuer& ca, ValidFor valid = days(-1, 30)) const {
    return issue(ca, {"host-a"}, CertificateUse::kClient, valid);
  }

  void expect_refused(const Result<bool>& side, const ::testing::Matcher<const std::string&>& why) {
    ASSERT_FALSE(side);
    EXPECT_EQ(side.error().kind, ErrorKind::kRefused);
    EXPECT_THAT(side.error().message, why);
  }

  TempFolder folder_;
  Issuer ca_ = must(Issuer::make("CA", days(-100, 1000)));
};

TEST_F(Certificates, OfTheSameCaAreTrusted) {
  for (const std::string name : {"host-b", "10.0.0.2", ""}) {
    make(files("client", ca_, client_of(ca_)), files("server", ca_, server_of(ca_)), name);
    shake_hands();
    ASSERT_TRUE(client_done_) << client_done_.error().message;
    ASSERT_TRUE(server_done_) << server_done_.error().message;
    EXPECT_TRUE(*client_done_ && *server_done_);
    EXPECT_THAT(client_->description(), HasSubstr("certificate of 'host-b', '10.0.0.2'"));
    EXPECT_THAT(server_->description(), HasSubstr("certificate of 'host-a'"));
  }
}

TEST_F(Certificates, AreNotSentAgainOnFurtherConnections) {
  const auto client = must(TlsContext::make(TlsSide::kClient, files("client", ca_, client_of(ca_)), "host-b"));
  const auto server = must(TlsContext::make(TlsSide::kServer, files("server", ca_, server_of(ca_)), ""));
  std::vector<std::size_t> bytes;
  for (int connection = 0; connection < 3; ++connection) {
    client_ = must(TlsSession::make(client, "the server"));
    server_ = must(TlsSession::make(server, "the client"));
    bytes.push_back(shake_hands());
    ASSERT_TRUE(client_done_ && *client_done_) << connection;
    ASSERT_TRUE(server_done_ && *server_done_) << connection;
    EXPECT_THAT(client_->description(),
                HasSubstr(connection == 0 ? "certificate of 'host-b'" : "the first connection's certificates"));
  }
  EXPECT_LT(bytes[1], bytes[0] / 2);
  EXPECT_EQ(bytes[1], bytes[2]);
}

/// A client that has a key which this server does not know shows its certificate.
TEST_F(Certificates, AreShownToAServerThatHasForgotten) {
  const auto client = must(TlsContext::make(TlsSide::kClient, files("client", ca_, client_of(ca_)), "host-b"));
  for (int connection = 0; connection < 2; ++connection) {
    const auto server = must(TlsContext::make(TlsSide::kServer, files("server", ca_, server_of(ca_)), ""));
    client_ = must(TlsSession::make(client, "the server"));
    server_ = must(TlsSession::make(server, "the client"));
    shake_hands();
    ASSERT_TRUE(client_done_ && *client_done_);
    ASSERT_TRUE(server_done_ && *server_done_);
    EXPECT_THAT(server_->description(), HasSubstr("certificate of 'host-a'"));
  }
}

TEST_F(Certificates, ThatHaveExpiredAreRefused) {
  make(files("client", ca_, client_of(ca_)), files("server", ca_, server_of(ca_, days(-30, -1))), "host-b");
  shake_hands();
  expect_refused(client_done_, AllOf(HasSubstr("'host-b', '10.0.0.2' expired on"), HasSubstr("renew it there")));
  expect_refused(server_done_, AllOf(HasSubstr("the other side says that this side's certificate has expired")));
  EXPECT_TRUE(server_done_.error().at_peer);
}

TEST_F(Certificates, ThatHaveExpiredAreRefusedByTheServer) {
  make(files("client", ca_, client_of(ca_, days(-30, -1))), files("server", ca_, server_of(ca_)), "host-b");
  shake_hands();
  expect_refused(server_done_, HasSubstr("the certificate of 'host-a' expired on"));
  expect_refused(client_done_, HasSubstr("this side's certificate has expired"));
}

TEST_F(Certificates, ThatAreNotValidYetAreRefused) {
  make(files("client", ca_, client_of(ca_)), files("server", ca_, server_of(ca_, days(2, 30))), "host-b");
  shake_hands();
  expect_refused(client_done_, AllOf(HasSubstr("is not valid before"), HasSubstr("clocks")));
}

TEST_F(Certificates, ForAnotherNameAreRefused) {
  for (const std::string name : {"host-c", "10.0.0.3", "host", "b"}) {
    make(files("client", ca_, client_of(ca_)), files("server", ca_, server_of(ca_)), name);
    shake_hands();
    expect_refused(client_done_, AllOf(HasSubstr("is for 'host-b', '10.0.0.2', not for '" + name + "'"),
                                       HasSubstr("--tls-hostname")));
    expect_refused(server_done_, HasSubstr("not for this host"));
  }
}

TEST_F(Certificates, ForAnotherNameThanAServerAsksForAreRefused) {
  client_ = must(TlsSession::make(
      must(TlsContext::make(TlsSide::kClient, files("client", ca_, client_of(ca_)), "host-b")), "the server"));
  server_ = must(TlsSession::make(
      must(TlsContext::make(TlsSide::kServer, files("server", ca_, server_of(ca_)), "host-z")), "the client"));
  shake_hands();
  expect_refused(server_done_, HasSubstr("is for 'host-a', not for 'host-z'"));
}

TEST_F(Certificates, OfAnotherCaAreRefused) {
  const Issuer other = must(Issuer::make("Another CA", days(-1, 100)));
  make(files("client", ca_, client_of(ca_)), files("server", ca_, server_of(other)), "host-b");
  shake_hands();
  expect_refused(client_done_,
                 AllOf(HasSubstr("is not signed by the CA that this side trusts"), HasSubstr("client-ca.pem")));
  expect_refused(server_done_, HasSubstr("is not signed by the CA that it trusts"));
}

/// With the same name as ours, and a key of its own.
TEST_F(Certificates, OfAForgedCaAreRefused) {
  const Issuer forged = must(Issuer::make("CA", days(-100, 1000)));
  make(files("client", ca_, client_of(forged)), files("server", ca_, server_of(ca_)), "host-b");
  shake_hands();
  expect_refused(server_done_, HasSubstr("is not signed by the CA that this side trusts"));
}

TEST_F(Certificates, ThatHaveBeenRevokedAreRefused) {
  const Issued shown = server_of(ca_);
  const std::vector<std::string> revoked{shown.certificate};
  const auto crl = must(ca_.revocation_list(revoked, days(-1, 100)));
  make(files("client", ca_, client_of(ca_), crl), files("server", ca_, shown), "host-b");
  shake_hands();
  expect_refused(client_done_, AllOf(HasSubstr("has been revoked"), HasSubstr("client-crl.pem")));
  expect_refused(server_done_, HasSubstr("has been revoked"));
  // Another certificate of the same CA is good.
  make(files("client", ca_, client_of(ca_), crl), files("server", ca_, server_of(ca_)), "host-b");
  shake_hands();
  EXPECT_TRUE(client_done_ && *client_done_);
}

TEST_F(Certificates, OfAClientAreNotAServers) {
  make(files("client", ca_, client_of(ca_)),
       files("server", ca_, issue(ca_, {"host-b"}, CertificateUse::kClient, days(-1, 30))), "host-b");
  shake_hands();
  expect_refused(client_done_, HasSubstr("not for this use"));
}

TEST_F(Certificates, AreNoMatchForAKey) {
  make(files("client", ca_, client_of(ca_)), key_of(1), "host-b");
  shake_hands();
  expect_refused(server_done_, HasSubstr("one side has certificates, the other a key"));
  expect_refused(client_done_, HasSubstr("one side has certificates, the other a key"));
  make(key_of(1), files("server", ca_, server_of(ca_)), "");
  shake_hands();
  expect_refused(client_done_, HasSubstr("one side has certificates, the other a key"));
  ASSERT_FALSE(server_done_);
}

TEST_F(Certificates, WithAKeyThatIsNotTheirsAreNotTaken) {
  auto own = files("client", ca_, client_of(ca_));
  own.key = file("other-key.pem", client_of(ca_).key);
  const auto context = TlsContext::make(TlsSide::kClient, own, "host-b");
  ASSERT_FALSE(context);
  EXPECT_EQ(context.error().kind, ErrorKind::kInvalidArgument);
  EXPECT_THAT(context.error().message, AllOf(HasSubstr("other-key.pem"), HasSubstr("client-cert.pem")));
}

TEST_F(Certificates, WithAKeyThatEveryUserCanReadAreNotTaken) {
  const auto own = files("client", ca_, client_of(ca_));
  std::filesystem::permissions(own.key, std::filesystem::perms::others_read, std::filesystem::perm_options::add);
  const auto context = TlsContext::make(TlsSide::kClient, own, "host-b");
  ASSERT_FALSE(context);
  EXPECT_EQ(context.error().kind, ErrorKind::kNoPermission);
}

TEST_F(Certificates, ThatCannotBeReadAreNamed) {
  for (auto member :
       {&CertificateFiles::ca, &CertificateFiles::certificate, &CertificateFiles::key, &CertificateFiles::crl}) {
    auto own = files("client", ca_, client_of(ca_));
    own.*member = file("rubbish.pem", "rubbish");
    const auto context = TlsContext::make(TlsSide::kClient, own, "host-b");
    ASSERT_FALSE(context);
    EXPECT_THAT(context.error().message, HasSubstr("rubbish.pem"));
  }
}

}  // namespace
}  // namespace godwit::testing::certificates_test
