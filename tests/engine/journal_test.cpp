// The journal: what an engine that died leaves is found, and an engine that lives is respected.
#include "engine/journal.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace godwit {
namespace {

namespace fs = std::filesystem;

std::uint64_t own_start_time() {
  std::ifstream stat("/proc/self/stat");
  std::string line;
  std::getline(stat, line);
  std::istringstream fields(line.substr(line.rfind(')') + 1));
  std::string field;
  for (int i = 3; i <= 22; ++i) fields >> field;
  return std::stoull(field);
}

class JournalTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = fs::temp_directory_path() / "godwit-journal-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }

  /// Runs `act` in a child that is then killed by SIGKILL, as an engine may be.
  template <typename Act>
  void in_killed_child(Act act) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      act();
      ::raise(SIGKILL);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status));
  }

  std::string folder_;
  VmProcess vm_{::getpid(), own_start_time()};
};

TEST_F(JournalTest, NothingIsFoundWhereNothingHappened) {
  EXPECT_EQ(Journal::peek(folder_, vm_).value(), Journal::State::kNone);
}

TEST_F(JournalTest, AKilledEngineLeavesWhatItHadWritten) {
  in_killed_child([&] { (void)Journal::open(folder_, vm_).value().begin(); });
  EXPECT_EQ(Journal::peek(folder_, vm_).value(), Journal::State::kMigrating);
  in_killed_child([&] { (void)Journal::open(folder_, vm_).value().commit(); });
  EXPECT_EQ(Journal::peek(folder_, vm_).value(), Journal::State::kCommitted);
  EXPECT_EQ(Journal::open(folder_, vm_).value().found(), Journal::State::kCommitted);
}

TEST_F(JournalTest, AnEngineThatLivesKeepsOthersOut) {
  auto mine = Journal::open(folder_, vm_).value();
  const auto other = Journal::open(folder_, vm_);
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().kind, ErrorKind::kRefused);
  EXPECT_FALSE(Journal::peek(folder_, vm_));
}

TEST_F(JournalTest, ClearedMeansGone) {
  auto mine = Journal::open(folder_, vm_).value();
  ASSERT_TRUE(mine.begin());
  mine.clear();
  EXPECT_EQ(Journal::peek(folder_, vm_).value(), Journal::State::kNone);
  EXPECT_TRUE(fs::is_empty(folder_));
}

TEST_F(JournalTest, JournalsOfEndedProcessesAreRemoved) {
  const VmProcess reused{::getpid(), vm_.start_time + 1};
  (void)Journal::open(folder_, reused).value().begin();
  (void)Journal::open(folder_, vm_).value();
  EXPECT_EQ(Journal::peek(folder_, reused).value(), Journal::State::kNone);
}

TEST_F(JournalTest, AForeignRecordIsRefusedNotGuessed) {
  std::ofstream(folder_ + "/" + std::to_string(vm_.pid) + "-" + std::to_string(vm_.start_time) + ".journal")
      << "journal 9";
  EXPECT_FALSE(Journal::open(folder_, vm_));
  EXPECT_FALSE(Journal::peek(folder_, vm_));
}

}  // namespace
}  // namespace godwit
