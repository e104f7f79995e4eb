// `godwit keygen` as a command: what it makes, what it says, and its exit code.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "app/commands.h"
#include "app/exit_code.h"
#include "tests/support/godwit_temp_folder.h"

namespace godwit::keygen_command_test {
namespace {

namespace fs = std::filesystem;

using ::testing::HasSubstr;

class KeygenRun : public ::testing::Test {
 protected:
  void SetUp() override {
    auto made = testing::TempFolder::make(fs::temp_directory_path());
    ASSERT_TRUE(made.has_value()) << made.error().message;
    temp_ = std::move(*made);
  }

  /// The exit code; what was said is in said_.
  int run(const KeygenOptions& options) {
    ::testing::internal::CaptureStderr();
    ::testing::internal::CaptureStdout();
    const int code = run_keygen(options);
    said_ = ::testing::internal::GetCapturedStderr();
    EXPECT_EQ(::testing::internal::GetCapturedStdout(), "");
    return code;
  }
  std::string path(const std::string& name) const { return temp_.path() / name; }

  testing::TempFolder temp_;
  std::string said_;
};

TEST_F(KeygenRun, MakesASharedKeyOnce) {
  KeygenOptions options;
  options.psk_file = path("key.psk");
  EXPECT_EQ(run(options), to_int(ExitCode::kDone));
  EXPECT_THAT(said_, HasSubstr("Made the shared key " + options.psk_file + "."));
  EXPECT_TRUE(fs::exists(options.psk_file));
  EXPECT_EQ(run(options), to_int(ExitCode::kFailed));
  EXPECT_EQ(said_, "godwit keygen: " + options.psk_file + " exists already, and is not overwritten\n");
}

TEST_F(KeygenRun, MakesHostsAndSaysWhatToDoWithThem) {
  KeygenOptions options;
  options.folder = path("ca");
  options.hosts = {{"host-a", "10.0.0.1"}, {"host-b"}};
  EXPECT_EQ(run(options), to_int(ExitCode::kDone));
  EXPECT_THAT(said_, HasSubstr("Made a CA in " + options.folder + ".\n"));
  EXPECT_THAT(said_, HasSubstr("Made " + path("ca/host-b") + ", certificates and keys that are valid until 20"));
  EXPECT_THAT(said_, HasSubstr("/etc/pki/qemu on host-a"));
  EXPECT_THAT(said_, HasSubstr("--tls-dir"));
  EXPECT_THAT(said_, HasSubstr("ca-key.pem stays"));
  options.hosts = {{"host-c"}};
  EXPECT_EQ(run(options), to_int(ExitCode::kDone));
  EXPECT_EQ(said_.find("Made a CA"), std::string::npos) << said_;
}

TEST_F(KeygenRun, OneHostThatIsThereKeepsAllFromBeingMade) {
  KeygenOptions options;
  options.folder = path("ca");
  options.hosts = {{"host-a"}};
  EXPECT_EQ(run(options), to_int(ExitCode::kDone));
  options.hosts = {{"host-b"}, {"host-a"}};
  EXPECT_EQ(run(options), to_int(ExitCode::kFailed));
  EXPECT_EQ(said_, "godwit keygen: " + path("ca/host-a") + " exists already, and is not overwritten\n");
  EXPECT_FALSE(fs::exists(path("ca/host-b")));
}

TEST_F(KeygenRun, RevokesAndSaysWhereTheListGoes) {
  KeygenOptions options;
  options.folder = path("ca");
  options.revoked_host = "host-a";
  EXPECT_EQ(run(options), to_int(ExitCode::kFailed));
  options.hosts = {{"host-a"}};
  options.revoked_host.clear();
  EXPECT_EQ(run(options), to_int(ExitCode::kDone));
  options.hosts.clear();
  options.revoked_host = "host-a";
  EXPECT_EQ(run(options), to_int(ExitCode::kDone));
  EXPECT_THAT(said_, HasSubstr("Added the certificates of host-a to " + path("ca/ca-crl.pem")));
  EXPECT_THAT(said_, HasSubstr("every other host"));
  EXPECT_THAT(said_, HasSubstr("remove " + path("ca/host-a") + " first"));
  EXPECT_TRUE(fs::exists(path("ca/ca-crl.pem")));
  options.revoked_host = "host-b";
  EXPECT_EQ(run(options), to_int(ExitCode::kFailed));
  EXPECT_EQ(said_, "godwit keygen: open " + path("ca/host-b/server-cert.pem") + ": No such file or directory\n");
}

TEST_F(KeygenRun, WhatAPathHoldsCannotHarmATerminal) {
  KeygenOptions options;
  options.psk_file = path("no\x1b[2Jfolder/key.psk");
  EXPECT_EQ(run(options), to_int(ExitCode::kFailed));
  EXPECT_EQ(said_.find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace godwit::keygen_command_test
