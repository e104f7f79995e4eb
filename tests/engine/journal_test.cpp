// The journal: what an engine that died leaves is found, and an engine that is alive is respected.
#include "engine/journal.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace godwit::journal_test {
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

  std::string path() const { return journal_path(folder_, vm_).value(); }

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
  std::ofstream(path()) << "journal 9";
  EXPECT_FALSE(Journal::open(folder_, vm_));
  EXPECT_FALSE(Journal::peek(folder_, vm_));
}

TEST_F(JournalTest, TheBootIsPartOfTheName) {
  std::string boot;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
  EXPECT_NE(path().find(boot), std::string::npos) << path();
  // Of another boot: the same pid and start time are another process.
  const std::string other = folder_ + "/" + std::to_string(vm_.pid) + "-" + std::to_string(vm_.start_time) +
                            "-00000000-0000-4000-8000-000000000000.journal";
  std::ofstream(other) << "committed";
  EXPECT_EQ(Journal::peek(folder_, vm_).value(), Journal::State::kNone);
  (void)Journal::open(folder_, vm_).value();
  EXPECT_FALSE(fs::exists(other)) << "nobody will ever need it";
}

TEST_F(JournalTest, AJournalThatIsHeldIsNotRemovedThoughItsProcessIsGone) {
  const VmProcess gone{vm_.pid, vm_.start_time + 1};
  auto held = Journal::open(folder_, gone).value();
  ASSERT_TRUE(held.commit());
  (void)Journal::open(folder_, vm_).value();
  EXPECT_TRUE(fs::exists(held.path()));
}

TEST_F(JournalTest, WhoWasAboutToStopTheGuestIsToldFromWhoHasSeenItStand) {
  auto journal = Journal::open(folder_, vm_).value();
  const auto state_and_mark = [&] {
    std::ifstream file(path());
    std::string word, mark;
    for (int i = 0; i < 4; ++i) file >> word;
    file >> mark;
    return word + " " + mark;
  };
  ASSERT_TRUE(journal.begin());
  ASSERT_TRUE(journal.guest_stands("late"));
  EXPECT_EQ(state_and_mark(), "migrating ") << "a mark of a stop that was taken back";
  ASSERT_TRUE(journal.pausing());
  EXPECT_EQ(state_and_mark(), "pausing ");
  ASSERT_TRUE(journal.guest_stands("a"));
  EXPECT_EQ(state_and_mark(), "paused a");
  ASSERT_TRUE(journal.begin());
  ASSERT_TRUE(journal.handing_over());
  EXPECT_EQ(state_and_mark(), "handing-over ");
  ASSERT_TRUE(journal.guest_stands("b"));
  ASSERT_TRUE(journal.guest_stands("c"));
  EXPECT_EQ(state_and_mark(), "stopped c");
  ASSERT_TRUE(journal.commit());
  EXPECT_EQ(state_and_mark(), "committed c");
  ASSERT_TRUE(journal.guest_stands("d"));
  EXPECT_EQ(state_and_mark(), "committed d") << "a late mark must not take the commit back";
  ASSERT_TRUE(journal.take_back());
  EXPECT_EQ(state_and_mark(), "stopped d");
  EXPECT_FALSE(journal.guest_stands(std::string(2000, 'x')));
}

TEST_F(JournalTest, SettingsAreFoundUntilTheyHaveBeenPutBack) {
  const std::string settings(3000, 's');
  in_killed_child([&] {
    auto journal = Journal::open(folder_, vm_).value();
    (void)journal.begin();
    (void)journal.keep_settings(settings);
    (void)journal.commit();
  });
  {
    auto journal = Journal::open(folder_, vm_).value();
    EXPECT_EQ(journal.left().settings, settings);
    journal.settings_put_back();
  }
  auto journal = Journal::open(folder_, vm_).value();
  EXPECT_EQ(journal.found(), Journal::State::kCommitted);
  EXPECT_EQ(journal.left().settings, "");
}

TEST_F(JournalTest, ClearingKeepsSettingsThatWereNotPutBack) {
  {
    auto journal = Journal::open(folder_, vm_).value();
    ASSERT_TRUE(journal.handing_over());
    ASSERT_TRUE(journal.keep_settings("x"));
    journal.clear();
  }
  auto journal = Journal::open(folder_, vm_).value();
  EXPECT_EQ(journal.found(), Journal::State::kMigrating) << "the guest runs: nothing is to be let run on";
  EXPECT_EQ(journal.left().settings, "x");
  journal.settings_put_back();
  journal.clear();
  EXPECT_TRUE(fs::is_empty(folder_));
}

TEST_F(JournalTest, WhichMigrationItWasIsFound) {
  in_killed_child([&] {
    auto journal = Journal::open(folder_, vm_).value();
    (void)journal.name_migration("3f2a9c01d4e7");
    (void)journal.begin();
    (void)journal.keep_settings("x");
    (void)journal.handing_over();
    (void)journal.guest_stands("mark");
  });
  auto journal = Journal::open(folder_, vm_).value();
  EXPECT_EQ(journal.found(), Journal::State::kStopped);
  EXPECT_EQ(journal.left().mark, "mark");
  EXPECT_EQ(journal.left().settings, "x");
  EXPECT_EQ(journal.left().id, "3f2a9c01d4e7");
}

TEST_F(JournalTest, ASinkLearnsTheIdLaterAndForgetsItWhenItWaitsAgain) {
  in_killed_child([&] {
    auto journal = Journal::open(folder_, vm_).value();
    (void)journal.receiving();
    (void)journal.name_migration("ab");
  });
  {
    auto journal = Journal::open(folder_, vm_).value();
    EXPECT_EQ(journal.left().id, "ab");
    ASSERT_TRUE(journal.receiving());
  }
  auto journal = Journal::open(folder_, vm_).value();
  EXPECT_EQ(journal.found(), Journal::State::kReceiving);
  EXPECT_EQ(journal.left().id, "");
}

TEST_F(JournalTest, AnIdIsHexadecimal) {
  auto journal = Journal::open(folder_, vm_).value();
  EXPECT_FALSE(journal.name_migration(""));
  EXPECT_FALSE(journal.name_migration("ab\ncd"));
  EXPECT_FALSE(journal.name_migration(std::string(65, 'a')));
  ASSERT_TRUE(journal.name_migration(std::string(64, 'a')));
  EXPECT_EQ(fs::file_size(path()), 0U) << "nothing has begun";
}

/// As the engine wrote it before migrations had ids: its record, and nothing or its settings behind it.
TEST_F(JournalTest, AJournalWithoutAnIdIsReadAsBefore) {
  std::string record = "godwit journal 2 stopped mark";
  record.resize(1023, ' ');
  record += '\n';
  for (const std::size_t size : {record.size(), std::size_t{4096}}) {
    std::ofstream(path(), std::ios::trunc) << record;
    fs::resize_file(path(), size);
    auto journal = Journal::open(folder_, vm_).value();
    EXPECT_EQ(journal.found(), Journal::State::kStopped);
    EXPECT_EQ(journal.left().mark, "mark");
    EXPECT_EQ(journal.left().id, "");
  }
}

/// And the other way round: an engine of then reads the first 1024 bytes, and minds their first and last characters.
TEST_F(JournalTest, AnIdIsOutOfAnOlderEnginesSight) {
  auto journal = Journal::open(folder_, vm_).value();
  ASSERT_TRUE(journal.name_migration("ab"));
  ASSERT_TRUE(journal.handing_over());
  std::ostringstream text;
  text << std::ifstream(path()).rdbuf();
  std::string record = "godwit journal 2 handing-over ";
  record.resize(1023, ' ');
  EXPECT_EQ(text.str().substr(0, 1024), record + '\n');
}

/// Killed while they are written: then none was changed.
TEST_F(JournalTest, HalfWrittenSettingsDoNotCount) {
  const std::string settings(3000, 's');
  in_killed_child([&] {
    auto journal = Journal::open(folder_, vm_).value();
    (void)journal.begin();
    (void)journal.keep_settings(settings);
  });
  fs::resize_file(path(), fs::file_size(path()) - 100);
  EXPECT_EQ(Journal::open(folder_, vm_).value().left().settings, "");
  EXPECT_FALSE(Journal::open(folder_, vm_).value().keep_settings(std::string(kMostSettings + 1, 's')));
}

/// Paused once more while its memory follows it: that must not become a pause after which it may be let run here.
TEST_F(JournalTest, KeepsThatMemoryFollowsTheGuestWhateverElseIsSeen) {
  {
    auto journal = Journal::open(folder_, vm_).value();
    ASSERT_TRUE(journal.begin());
    ASSERT_TRUE(journal.commit_early());
    ASSERT_TRUE(journal.guest_stands("a mark"));
  }
  EXPECT_EQ(Journal::peek(folder_, vm_).value(), Journal::State::kFollowing);
}

}  // namespace
}  // namespace godwit::journal_test
