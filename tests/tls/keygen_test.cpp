#include "tls/keygen.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <iterator>
#include <regex>

#include "tests/support/godwit_temp_folder.h"
#include "tls/pem.h"

namespace godwit::keygen_test {
namespace {

namespace fs = std::filesystem;

using ::testing::HasSubstr;
using testing::TempFolder;
using ::testing::UnorderedElementsAre;

constexpr std::time_t kDay = 24 * 3600;
constexpr std::time_t kNow = 1'800'000'000;  // in January 2027
constexpr std::time_t kTwoYears = kNow + 730 * kDay;

std::string text_in(const fs::path& file) {
  std::ifstream in(file);
  return {std::istreambuf_iterator<char>(in), {}};
}

mode_t mode_of(const fs::path& path) {
  struct stat found {};
  return ::stat(path.c_str(), &found) == 0 ? found.st_mode & 07777U : 0;
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename());
  return names;
}

/// Every file below a folder, with its text.
std::map<std::string, std::string> all_in(const fs::path& folder) {
  std::map<std::string, std::string> texts;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    texts[entry.path()] = entry.is_regular_file() ? text_in(entry.path()) : "";
  }
  return texts;
}

class Keygen : public ::testing::Test {
 protected:
  void SetUp() override {
    ::umask(022);
    auto made = TempFolder::make(fs::temp_directory_path());
    ASSERT_TRUE(made.has_value()) << made.error().message;
    temp_ = std::move(*made);
  }

  fs::path file(const std::string& name) const { return temp_.path() / name; }

  /// In the folder "ca": what godwit keygen --dir ca --host NAMES makes.
  Result<std::time_t> make(const std::vector<std::string>& names, std::time_t until = kTwoYears) const {
    CaFolder ca = TRY(CaFolder::open_or_make(file("ca"), kNow));
    return ca.make_host(names, kNow, until);
  }
  Status revoke(const std::string& host) const {
    CaFolder ca = TRY(CaFolder::open(file("ca")));
    return ca.revoke(host, kNow);
  }

  OwnedCertificate certificate(const std::string& name) const {
    auto parsed = certificate_of(text_in(file(name)));
    EXPECT_TRUE(parsed.has_value()) << name;
    return parsed ? std::move(*parsed) : nullptr;
  }

  /// OpenSSL's verdict with the files that are in the folder of `verifier`, as a host has them.
  int verdict(const std::string& verifier, const std::string& shown, int purpose, std::time_t at = kNow) const {
    const auto trusted = certificate("ca/" + verifier + "/ca-cert.pem");
    const auto checked = certificate(shown);
    X509_STORE* const store = X509_STORE_new();
    X509_STORE_add_cert(store, trusted.get());
    unsigned long flags = X509_V_FLAG_X509_STRICT;
    if (const auto list = file("ca/" + verifier + "/ca-crl.pem"); fs::exists(list)) {
      const auto parsed = revocations_of(text_in(list));
      EXPECT_TRUE(parsed.has_value());
      X509_STORE_add_crl(store, parsed->get());
      flags |= X509_V_FLAG_CRL_CHECK;
    }
    X509_STORE_CTX* const check = X509_STORE_CTX_new();
    X509_STORE_CTX_init(check, store, checked.get(), nullptr);
    X509_VERIFY_PARAM* const asked = X509_STORE_CTX_get0_param(check);
    X509_VERIFY_PARAM_set_flags(asked, flags);
    X509_VERIFY_PARAM_set_purpose(asked, purpose);
    X509_VERIFY_PARAM_set_time(asked, at);
    X509_verify_cert(check);
    const int error = X509_STORE_CTX_get_error(check);
    X509_STORE_CTX_free(check);
    X509_STORE_free(store);
    return error;
  }
  int verdict_on_server(const std::string& verifier, const std::string& host, std::time_t at = kNow) const {
    return verdict(verifier, "ca/" + host + "/server-cert.pem", X509_PURPOSE_SSL_SERVER, at);
  }
  int verdict_on_client(const std::string& verifier, const std::string& host) const {
    return verdict(verifier, "ca/" + host + "/client-cert.pem", X509_PURPOSE_SSL_CLIENT);
  }

  TempFolder temp_;
};

template <typename T>
void expect_refused(const Result<T>& result, ErrorKind kind, const std::string& part) {
  ASSERT_FALSE(result.has_value()) << part;
  EXPECT_EQ(result.error().kind, kind) << result.error().message;
  EXPECT_THAT(result.error().message, HasSubstr(part));
  EXPECT_EQ(result.error().message.find('\n'), std::string::npos);
}

TEST_F(Keygen, ASharedKeyIsALineThatOnlyItsOwnerReads) {
  ASSERT_TRUE(make_shared_key_file(file("key.psk")).has_value());
  ASSERT_TRUE(make_shared_key_file(file("other.psk")).has_value());
  const std::string text = text_in(file("key.psk"));
  EXPECT_TRUE(std::regex_match(text, std::regex("godwit:[0-9a-f]{64}\n"))) << text;
  EXPECT_NE(text, text_in(file("other.psk")));
  EXPECT_EQ(mode_of(file("key.psk")), 0600U);
}

TEST_F(Keygen, ASharedKeyNeverReplacesAFile) {
  std::ofstream(file("key.psk")) << "kept";
  expect_refused(make_shared_key_file(file("key.psk")), ErrorKind::kInvalidArgument, "key.psk exists already");
  EXPECT_EQ(text_in(file("key.psk")), "kept");
  fs::create_symlink(file("nowhere"), file("link.psk"));
  expect_refused(make_shared_key_file(file("link.psk")), ErrorKind::kInvalidArgument, "link.psk exists already");
  EXPECT_FALSE(fs::exists(file("nowhere")));
  expect_refused(make_shared_key_file(file("no-folder/key.psk")), ErrorKind::kNotFound, "no-folder/key.psk");
}

TEST_F(Keygen, AHostsFolderHasWhatQemuLooksFor) {
  const auto until = make({"host-a", "10.0.0.1"});
  ASSERT_TRUE(until.has_value()) << until.error().message;
  EXPECT_EQ(*until, kTwoYears);
  EXPECT_THAT(names_in(file("ca")), UnorderedElementsAre("ca-cert.pem", "ca-key.pem", "host-a"));
  EXPECT_THAT(names_in(file("ca/host-a")), UnorderedElementsAre("ca-cert.pem", "server-cert.pem", "server-key.pem",
                                                                "client-cert.pem", "client-key.pem"));
  EXPECT_EQ(text_in(file("ca/host-a/ca-cert.pem")), text_in(file("ca/ca-cert.pem")));
}

TEST_F(Keygen, OnlyTheOwnerReadsKeys) {
  ASSERT_TRUE(make({"host-a"}).has_value());
  for (const char* folder : {"ca", "ca/host-a"}) EXPECT_EQ(mode_of(file(folder)), 0700U) << folder;
  for (const char* key : {"ca/ca-key.pem", "ca/host-a/server-key.pem", "ca/host-a/client-key.pem"}) {
    EXPECT_EQ(mode_of(file(key)), 0600U) << key;
  }
  for (const char* open : {"ca/ca-cert.pem", "ca/host-a/ca-cert.pem", "ca/host-a/server-cert.pem"}) {
    EXPECT_EQ(mode_of(file(open)), 0644U) << open;
  }
}

TEST_F(Keygen, KeysFitTheirCertificatesAndNames) {
  ASSERT_TRUE(make({"host-a", "host-a.example", "10.0.0.1", "fd00::1"}).has_value());
  for (const std::string side : {"server", "client"}) {
    const auto shown = certificate("ca/host-a/" + side + "-cert.pem");
    const auto key = key_of(text_in(file("ca/host-a/" + side + "-key.pem")));
    ASSERT_TRUE(key.has_value());
    EXPECT_EQ(X509_check_private_key(shown.get(), key->get()), 1);
    EXPECT_EQ(X509_check_host(shown.get(), "host-a", 0, 0, nullptr), 1);
    EXPECT_EQ(X509_check_host(shown.get(), "host-a.example", 0, 0, nullptr), 1);
    EXPECT_EQ(X509_check_host(shown.get(), "host-b", 0, 0, nullptr), 0);
    EXPECT_EQ(X509_check_ip_asc(shown.get(), "10.0.0.1", 0), 1);
    EXPECT_EQ(X509_check_ip_asc(shown.get(), "fd00::1", 0), 1);
  }
}

TEST_F(Keygen, HostsOfOneCaTrustEachOther) {
  ASSERT_TRUE(make({"host-a"}).has_value());
  const std::string ca_key = text_in(file("ca/ca-key.pem"));
  ASSERT_TRUE(make({"host-b"}).has_value());
  EXPECT_EQ(text_in(file("ca/ca-key.pem")), ca_key) << "the CA is used again";
  EXPECT_EQ(verdict_on_server("host-a", "host-b"), X509_V_OK);
  EXPECT_EQ(verdict_on_client("host-b", "host-a"), X509_V_OK);
  EXPECT_EQ(verdict("host-a", "ca/host-b/client-cert.pem", X509_PURPOSE_SSL_SERVER), X509_V_ERR_INVALID_PURPOSE);
  EXPECT_EQ(verdict("host-a", "ca/host-b/server-cert.pem", X509_PURPOSE_SSL_CLIENT), X509_V_ERR_INVALID_PURPOSE);
}

TEST_F(Keygen, CertificatesAreGoodForAsLongAsWasAskedAndForClocksThatAreBehind) {
  ASSERT_TRUE(make({"host-a"}, kNow + kDay).has_value());
  EXPECT_EQ(verdict_on_server("host-a", "host-a", kNow - 3500), X509_V_OK);
  EXPECT_EQ(verdict_on_server("host-a", "host-a", kNow + kDay - 1), X509_V_OK);
  EXPECT_EQ(verdict_on_server("host-a", "host-a", kNow + kDay + 1), X509_V_ERR_CERT_HAS_EXPIRED);
}

TEST_F(Keygen, NoCertificateIsGoodForLongerThanItsCa) {
  const auto until = make({"host-a"}, kNow + 20 * 365 * kDay);
  ASSERT_TRUE(until.has_value());
  EXPECT_EQ(*until, kNow + 3650 * kDay);
  EXPECT_EQ(verdict_on_server("host-a", "host-a", *until - 1), X509_V_OK);
  auto later = CaFolder::open(file("ca"));
  ASSERT_TRUE(later.has_value());
  expect_refused(later->make_host({"host-b"}, *until + 1, *until + kDay), ErrorKind::kInvalidArgument, "has expired");
  expect_refused(later->revoke("host-a", *until + 1), ErrorKind::kInvalidArgument, "has expired");
}

TEST_F(Keygen, TellsWhetherTheCaIsNew) {
  const auto is_new = [this] {
    const auto ca = CaFolder::open_or_make(file("ca"), kNow);
    return ca && ca->is_new();
  };
  EXPECT_TRUE(is_new());
  EXPECT_FALSE(is_new());
}

TEST_F(Keygen, AHostThatIsThereIsNotOverwritten) {
  ASSERT_TRUE(make({"host-a"}).has_value());
  const auto before = all_in(file("ca"));
  expect_refused(make({"host-a", "other-name"}), ErrorKind::kInvalidArgument, "ca/host-a exists already");
  EXPECT_EQ(all_in(file("ca")), before);
  fs::create_directory(file("ca/host-b"));
  expect_refused(make({"host-b"}), ErrorKind::kInvalidArgument, "ca/host-b exists already");
  EXPECT_TRUE(fs::is_empty(file("ca/host-b")));
  std::ofstream(file("ca/host-c")) << "kept";
  expect_refused(make({"host-c"}), ErrorKind::kInvalidArgument, "ca/host-c exists already");
  EXPECT_EQ(text_in(file("ca/host-c")), "kept");
}

TEST_F(Keygen, NamesThatAreNotHostsMakeNothing) {
  ASSERT_TRUE(make({"host-a"}).has_value());
  const auto before = all_in(temp_.path());
  for (const std::string& name : {std::string(".."), std::string("../b"), std::string(""), std::string("host b"),
                                  std::string("ca-key.pem"), std::string("ca-crl.pem"), std::string("300.1.1.1")}) {
    EXPECT_FALSE(make({name}).has_value()) << name;
  }
  EXPECT_FALSE(make({"host-b", "bad name"}).has_value());
  EXPECT_FALSE(make({}).has_value());
  EXPECT_FALSE(revoke("../ca/host-a").has_value());
  EXPECT_EQ(all_in(temp_.path()), before);
}

TEST_F(Keygen, TheLongestNameFits) {
  const std::string label = std::string(63, 'a') + ".";
  const std::string longest = label + label + label + std::string(61, 'a');
  ASSERT_EQ(longest.size(), 253U);
  const auto made = make({longest});
  ASSERT_TRUE(made.has_value()) << made.error().message;
  EXPECT_EQ(verdict_on_server(longest, longest), X509_V_OK);
}

TEST_F(Keygen, AFailureHalfWayLeavesNothing) {
  ASSERT_TRUE(make({"host-a"}).has_value());
  const auto before = all_in(file("ca"));
  // A list that cannot be read is noticed after the host's folder has been begun.
  fs::create_directory(file("ca/ca-crl.pem"));
  EXPECT_FALSE(make({"host-b"}).has_value());
  fs::remove(file("ca/ca-crl.pem"));
  EXPECT_EQ(all_in(file("ca")), before);
  EXPECT_TRUE(make({"host-b"}).has_value());
}

TEST_F(Keygen, HalfACaIsNeitherUsedNorReplaced) {
  ASSERT_TRUE(make({"host-a"}).has_value());
  fs::rename(file("ca/ca-cert.pem"), file("kept.pem"));
  const auto before = all_in(file("ca"));
  expect_refused(make({"host-b"}), ErrorKind::kNotFound, "has ca-key.pem but not ca-cert.pem");
  EXPECT_EQ(all_in(file("ca")), before);
  fs::rename(file("kept.pem"), file("ca/ca-cert.pem"));
  fs::remove(file("ca/ca-key.pem"));
  expect_refused(make({"host-b"}), ErrorKind::kNotFound, "has ca-cert.pem but not ca-key.pem");
}

TEST_F(Keygen, ACaWhoseKeyOthersCanReadIsNotUsed) {
  ASSERT_TRUE(make({"host-a"}).has_value());
  fs::permissions(file("ca/ca-key.pem"), fs::perms(0640));
  expect_refused(make({"host-b"}), ErrorKind::kNoPermission, "ca-key.pem is open to other users (mode 0640)");
  EXPECT_FALSE(fs::exists(file("ca/host-b")));
}

TEST_F(Keygen, ACaWithAnotherKeyIsNotUsed) {
  ASSERT_TRUE(make({"host-a"}).has_value());
  fs::copy_file(file("ca/host-a/server-key.pem"), file("ca/ca-key.pem"), fs::copy_options::overwrite_existing);
  expect_refused(make({"host-b"}), ErrorKind::kInvalidArgument, "the CA's key is not that of its certificate");
}

TEST_F(Keygen, OneAtATime) {
  const auto first = CaFolder::open_or_make(file("ca"), kNow);
  ASSERT_TRUE(first.has_value());
  expect_refused(make({"host-a"}), ErrorKind::kRefused, "another keygen is at work");
}

TEST_F(Keygen, RevokedHostsAreRefusedBySideAndOthersAreNot) {
  for (const char* host : {"host-a", "host-b", "host-c"}) ASSERT_TRUE(make({host}).has_value());
  ASSERT_TRUE(revoke("host-a").has_value());
  fs::copy_file(file("ca/ca-crl.pem"), file("ca/host-c/ca-crl.pem"));
  EXPECT_EQ(verdict_on_server("host-c", "host-a"), X509_V_ERR_CERT_REVOKED);
  EXPECT_EQ(verdict_on_client("host-c", "host-a"), X509_V_ERR_CERT_REVOKED);
  EXPECT_EQ(verdict_on_server("host-c", "host-b"), X509_V_OK);
  EXPECT_EQ(verdict_on_server("host-c", "host-b", kNow + 700 * kDay), X509_V_OK) << "the list is still good";
  EXPECT_EQ(mode_of(file("ca/ca-crl.pem")), 0644U);
}

TEST_F(Keygen, RevokingAnotherHostKeepsTheFirstAndNewHostsGetTheList) {
  for (const char* host : {"host-a", "host-b"}) ASSERT_TRUE(make({host}).has_value());
  ASSERT_TRUE(revoke("host-a").has_value());
  ASSERT_TRUE(revoke("host-b").has_value());
  ASSERT_TRUE(revoke("host-b").has_value()) << "twice is as good as once";
  ASSERT_TRUE(make({"host-c"}).has_value());
  EXPECT_EQ(text_in(file("ca/host-c/ca-crl.pem")), text_in(file("ca/ca-crl.pem")));
  EXPECT_EQ(mode_of(file("ca/host-c/ca-crl.pem")), 0644U);
  EXPECT_EQ(verdict_on_server("host-c", "host-a"), X509_V_ERR_CERT_REVOKED);
  EXPECT_EQ(verdict_on_client("host-c", "host-b"), X509_V_ERR_CERT_REVOKED);
  EXPECT_EQ(verdict_on_client("host-c", "host-c"), X509_V_OK);
  EXPECT_THAT(names_in(file("ca")),
              UnorderedElementsAre("ca-cert.pem", "ca-key.pem", "ca-crl.pem", "host-a", "host-b", "host-c"));
}

TEST_F(Keygen, WhatCannotBeRevokedIsSaidAndTheListStays) {
  expect_refused(revoke("host-a"), ErrorKind::kNotFound, "ca");
  ASSERT_TRUE(make({"host-a"}).has_value());
  expect_refused(revoke("host-b"), ErrorKind::kNotFound, "ca/host-b/server-cert.pem");
  EXPECT_FALSE(fs::exists(file("ca/ca-crl.pem")));
  ASSERT_TRUE(revoke("host-a").has_value());
  const std::string list = text_in(file("ca/ca-crl.pem"));
  ASSERT_TRUE(make({"host-b"}).has_value());
  fs::remove(file("ca/host-b/client-cert.pem"));
  expect_refused(revoke("host-b"), ErrorKind::kNotFound, "ca/host-b/client-cert.pem");
  std::ofstream(file("ca/host-b/client-cert.pem")) << "not PEM";
  expect_refused(revoke("host-b"), ErrorKind::kInvalidArgument, "revoke host-b: read a certificate");
  EXPECT_EQ(text_in(file("ca/ca-crl.pem")), list);
}

TEST_F(Keygen, AListThatCannotBeReadIsNotForgotten) {
  ASSERT_TRUE(make({"host-a"}).has_value());
  for (const char* text : {"", "not PEM"}) {
    std::ofstream(file("ca/ca-crl.pem")) << text;
    expect_refused(revoke("host-a"), ErrorKind::kInvalidArgument, "read a revocation list");
    EXPECT_EQ(text_in(file("ca/ca-crl.pem")), text);
  }
}

}  // namespace
}  // namespace godwit::keygen_test
