#include "tls/trust.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "tests/support/godwit_temp_folder.h"

namespace godwit::testing::trust_test {
namespace {

using ::testing::HasSubstr;

void write(const std::string& file, std::string_view text, mode_t mode = 0600) {
  std::filesystem::create_directories(std::filesystem::path(file).parent_path());
  std::ofstream(file) << text;
  ASSERT_EQ(::chmod(file.c_str(), mode), 0);
}

class InAFolder : public ::testing::Test {
 protected:
  void SetUp() override {
    auto folder = TempFolder::make(std::filesystem::temp_directory_path());
    ASSERT_TRUE(folder) << folder.error().message;
    folder_ = std::move(*folder);
  }
  std::string path(const std::string& name = "") const {
    return name.empty() ? folder_.path().string() : (folder_.path() / name).string();
  }

 private:
  TempFolder folder_;
};

class SharedKeys : public InAFolder {
 protected:
  std::string reason(std::string_view text) {
    const auto key = parse_shared_key(text, "the key k");
    return key ? "taken" : key.error().message;
  }
};

TEST_F(SharedKeys, AreReadAsQemuAndGnutlsWriteThem) {
  const auto file = path("keys.psk");
  write(file, "qemu:00010203040506070809a0B0c0d0e0f0\nother:11\n");
  const auto key = read_shared_key(file);
  ASSERT_TRUE(key) << key.error().message;
  EXPECT_EQ(key->identity, "qemu");
  ASSERT_EQ(key->key.size(), 16u);
  EXPECT_EQ(key->key.data()[10], 0xa0);
  EXPECT_EQ(key->key.data()[15], 0xf0);
}

TEST_F(SharedKeys, ThatEveryUserCanReadAreRefused) {
  const auto file = path("keys.psk");
  write(file, "qemu:000102030405060708090a0b0c0d0e0f", 0644);
  const auto key = read_shared_key(file);
  ASSERT_FALSE(key);
  EXPECT_EQ(key.error().kind, ErrorKind::kNoPermission);
  EXPECT_THAT(key.error().message, HasSubstr("chmod o="));
}

TEST_F(SharedKeys, ThatAreNoneAreRefusedByWhatIsWrong) {
  EXPECT_THAT(reason(""), HasSubstr("no ':'"));
  EXPECT_THAT(reason("000102030405060708090a0b0c0d0e0f"), HasSubstr("no ':'"));
  EXPECT_THAT(reason(":000102030405060708090a0b0c0d0e0f"), HasSubstr("identity"));
  EXPECT_THAT(reason("a b:000102030405060708090a0b0c0d0e0f"), HasSubstr("identity"));
  EXPECT_THAT(reason("a:00"), HasSubstr("32 to 128 hexadecimal digits"));
  EXPECT_THAT(reason("a:000102030405060708090a0b0c0d0e0"), HasSubstr("hexadecimal digits"));
  EXPECT_THAT(reason("a:x00102030405060708090a0b0c0d0e0f"), HasSubstr("hexadecimal digits"));
  EXPECT_THAT(reason("a:" + std::string(130, '0')), HasSubstr("hexadecimal digits"));
}

TEST_F(SharedKeys, ThatAreNotThereAreSaidToBe) {
  const auto key = read_shared_key(path("nowhere"));
  ASSERT_FALSE(key);
  EXPECT_EQ(key.error().kind, ErrorKind::kNotFound);
}

class CertificateFolders : public InAFolder {
 protected:
  void have(std::initializer_list<const char*> names) {
    for (const char* name : names) write(path(name), "");
  }
};

TEST_F(CertificateFolders, AreKnownByQemusNames) {
  have({"ca-cert.pem", "ca-crl.pem", "server-cert.pem", "server-key.pem", "client-cert.pem", "client-key.pem"});
  const auto server = certificates_in(path(), TlsSide::kServer);
  ASSERT_TRUE(server) << server.error().message;
  EXPECT_EQ(server->ca, path("ca-cert.pem"));
  EXPECT_EQ(server->crl, path("ca-crl.pem"));
  EXPECT_EQ(server->certificate, path("server-cert.pem"));
  EXPECT_EQ(server->key, path("server-key.pem"));
  const auto client = certificates_in(path(), TlsSide::kClient);
  ASSERT_TRUE(client) << client.error().message;
  EXPECT_EQ(client->certificate, path("client-cert.pem"));
  EXPECT_EQ(client->key, path("client-key.pem"));
}

TEST_F(CertificateFolders, AreKnownByLibvirtsNames) {
  have({"CA/cacert.pem", "libvirt/servercert.pem", "libvirt/private/serverkey.pem"});
  const auto server = certificates_in(path(), TlsSide::kServer);
  ASSERT_TRUE(server) << server.error().message;
  EXPECT_EQ(server->ca, path("CA/cacert.pem"));
  EXPECT_EQ(server->crl, "");
  EXPECT_EQ(server->key, path("libvirt/private/serverkey.pem"));
}

TEST_F(CertificateFolders, WithOneCertificateHaveItForBothSides) {
  have({"ca-cert.pem", "server-cert.pem", "server-key.pem"});
  const auto client = certificates_in(path(), TlsSide::kClient);
  ASSERT_TRUE(client) << client.error().message;
  EXPECT_EQ(client->certificate, path("server-cert.pem"));
}

TEST_F(CertificateFolders, WithoutWhatIsNeededAreRefusedByName) {
  auto none = certificates_in(path(), TlsSide::kClient);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().kind, ErrorKind::kNotFound);
  EXPECT_THAT(none.error().message, HasSubstr("has no ca-cert.pem"));
  have({"ca-cert.pem", "client-cert.pem"});
  none = certificates_in(path(), TlsSide::kClient);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().kind, ErrorKind::kInvalidArgument);
  EXPECT_THAT(none.error().message, HasSubstr("client-key.pem"));
}

}  // namespace
}  // namespace godwit::testing::trust_test
