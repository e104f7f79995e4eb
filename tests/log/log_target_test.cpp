#include "log/log_target.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "base/unique_fd.h"
#include "log/log_writer.h"

namespace godwit {
namespace {

using ::testing::HasSubstr;

class LogTargetTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = std::filesystem::temp_directory_path() / "godwit-log-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string content(const std::string& path) const {
    std::ostringstream text;
    text << std::ifstream(path).rdbuf();
    return text.str();
  }

  std::string folder_;
  const SteadyClock clock_{};
};

TEST_F(LogTargetTest, AFileIsAppendedTo) {
  const std::string path = folder_ + "/log";
  std::ofstream(path) << "before\n";
  {
    auto file = open_log_file(path);
    ASSERT_TRUE(file) << file.error().message;
    EXPECT_TRUE((*file)->write("one\n"));
    auto other = open_log_file(path);
    ASSERT_TRUE(other);
    EXPECT_TRUE((*other)->write("two\n"));
    EXPECT_TRUE((*file)->write("three\n"));
  }
  EXPECT_EQ(content(path), "before\none\ntwo\nthree\n");
}

TEST_F(LogTargetTest, AFileThatCannotBeOpenedIsAnErrorThatNamesIt) {
  const std::string path = folder_ + "/no/such/log";
  const auto file = open_log_file(path);
  ASSERT_FALSE(file);
  EXPECT_EQ(file.error().message, "open " + path + ": No such file or directory");
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/no"));
  EXPECT_THAT(open_log_file(folder_).error().message, HasSubstr("Is a directory"));
}

TEST_F(LogTargetTest, ANamedPipeThatNobodyReadsHoldsNobodyUp) {
  const std::string path = folder_ + "/pipe";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  EXPECT_FALSE(open_log_file(path));
  const UniqueFd reader(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  auto pipe = open_log_file(path);
  ASSERT_TRUE(pipe) << pipe.error().message;
  const std::string line(1000, 'x');
  bool written = true;
  for (int i = 0; i < 10'000 && written; ++i) written = (*pipe)->write(line);
  EXPECT_FALSE(written);
}

TEST_F(LogTargetTest, AFullDiskIsAFailedWrite) {
  auto full = open_log_file("/dev/full");
  ASSERT_TRUE(full) << full.error().message;
  EXPECT_FALSE((*full)->write("x\n"));
}

TEST_F(LogTargetTest, WhatWasLoggedIsInTheFileWhenTheProcessIsKilled) {
  const std::string path = folder_ + "/log";
  const pid_t child = ::fork();
  if (child == 0) {
    const Log log(std::make_shared<LogWriter>(open_log_file(path).value()), LogLevel::kInfo, clock_);
    for (int i = 0; i < 100; ++i) log.info("line", {{"number", i}});
    while (true) ::pause();  // neither ends nor logs any more: nothing makes it flush
  }
  ASSERT_GT(child, 0);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (content(path).find("number=99\n") == std::string::npos && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::yield();
  }
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_THAT(content(path), HasSubstr("number=99\n"));
}

/// A socket as systemd's journal has it.
class FakeJournal {
 public:
  explicit FakeJournal(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  std::string datagram() {
    std::array<char, 65536> buffer{};
    const ssize_t got = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
    return got < 0 ? "" : std::string(buffer.data(), static_cast<std::size_t>(got));
  }

 private:
  UniqueFd fd_;
};

TEST_F(LogTargetTest, TheJournalGetsADatagramARecord) {
  const std::string path = folder_ + "/journal";
  FakeJournal journal(path);
  auto target = open_journal_log(path);
  ASSERT_TRUE(target) << target.error().message;
  const Log log(std::make_shared<LogWriter>(std::move(*target)), LogLevel::kInfo, clock_);
  log.begin_migration("3f2a");
  log.info("start", {{"vm", "vm1"}});
  log.error("end", {{"error", "lost"}});
  const std::string first = journal.datagram();
  EXPECT_THAT(first, HasSubstr("MESSAGE=start vm=vm1\nPRIORITY=6\n"));
  EXPECT_THAT(first, HasSubstr("\nGODWIT_ID=3f2a\n"));
  EXPECT_THAT(first, HasSubstr("\nGODWIT_VM=vm1\n"));
  EXPECT_THAT(journal.datagram(), HasSubstr("MESSAGE=end error=lost\nPRIORITY=3\n"));
}

TEST_F(LogTargetTest, AJournalThatIsNotThereIsAnError) {
  EXPECT_FALSE(open_journal_log(folder_ + "/none"));
  EXPECT_FALSE(open_journal_log(std::string(200, 'x')));
}

TEST_F(LogTargetTest, StderrIsTheJournalIfItIsTheStreamThatSystemdNames) {
  const UniqueFd stream(::open((folder_ + "/stream").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  struct stat status {};
  ASSERT_EQ(::fstat(stream.get(), &status), 0);
  EXPECT_TRUE(is_journal_stream(fmt::format("{}:{}", status.st_dev, status.st_ino).c_str(), stream.get()));
  EXPECT_FALSE(is_journal_stream(fmt::format("{}:{}", status.st_dev, status.st_ino + 1).c_str(), stream.get()))
      << "it was redirected";
  EXPECT_FALSE(is_journal_stream("", stream.get()));
  EXPECT_FALSE(is_journal_stream(nullptr, stream.get()));
  EXPECT_FALSE(is_journal_stream("1:2", -1));
}

}  // namespace
}  // namespace godwit
