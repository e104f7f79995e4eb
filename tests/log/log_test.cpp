#include "log/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "log/log_writer.h"
#include "tests/support/manual_clock.h"

namespace godwit {
namespace {

using namespace std::chrono_literals;
using godwit::testing::ManualClock;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// Keeps what it is told to write; `gate` closed, it is blocked like a disk that does not answer.
struct KeptLines {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::string> lines;
  bool gate_open = true;
  bool waits_at_gate = false;
  bool full = false;
};

class KeepingTarget final : public LogTarget {
 public:
  explicit KeepingTarget(KeptLines& kept) : kept_(kept) {}
  std::string render(const LogRecord& record) const override { return log_line(record); }
  bool write(std::string_view line) noexcept override {
    std::unique_lock lock(kept_.mutex);
    if (kept_.full) return false;
    kept_.waits_at_gate = true;
    kept_.changed.notify_all();
    kept_.changed.wait(lock, [&] { return kept_.gate_open; });
    kept_.lines.emplace_back(line);
    return true;
  }

 private:
  KeptLines& kept_;
};

class LogTest : public ::testing::Test {
 protected:
  Log log(LogLevel level) {
    writer_ = std::make_shared<LogWriter>(std::make_unique<KeepingTarget>(kept_));
    return {writer_, level, clock_, [] { return std::chrono::system_clock::time_point(1795791662123456us); }};
  }
  /// What has been written when all has been. No Log may be left.
  const std::vector<std::string>& written() {
    writer_.reset();
    return kept_.lines;
  }

  KeptLines kept_;
  ManualClock clock_;
  std::shared_ptr<LogWriter> writer_;
};

TEST_F(LogTest, ALineHasTimeLevelIdElapsedTimeEventAndFields) {
  {
    const Log log = this->log(LogLevel::kInfo);
    log.begin_migration("3f2a9c01d4e7");
    clock_.advance(812345us);
    log.info("harvest", {{"pages", 812}, {"took", 3100us}, {"ratio", 1.5}, {"last", true}, {"vm", "vm1"}});
  }
  EXPECT_THAT(written(), ElementsAre("2026-11-27T15:01:02.123456Z info id=3f2a9c01d4e7 elapsed_us=812345 event=harvest "
                                     "pages=812 took_us=3100 ratio=1.5 last=true vm=vm1\n"));
}

TEST_F(LogTest, BeforeAMigrationThereIsNoIdAndTimeCountsFromTheLogsStart) {
  {
    const Log log = this->log(LogLevel::kInfo);
    clock_.advance(5us);
    log.info("start");
    log.begin_migration("ab");
    clock_.advance(7us);
    log.info("greeted");
    log.begin_migration("cd");
    log.info("greeted");
  }
  EXPECT_THAT(written(), ElementsAre(HasSubstr(" info elapsed_us=5 event=start"),
                                     HasSubstr(" info id=ab elapsed_us=7 event=greeted"),
                                     HasSubstr(" info id=cd elapsed_us=0 event=greeted")));
}

TEST_F(LogTest, CopiesSpeakForTheSameMigration) {
  {
    const Log log = this->log(LogLevel::kInfo);
    const Log copy = log;
    log.begin_migration("ab");
    copy.info("x");
  }
  EXPECT_THAT(written(), ElementsAre(HasSubstr("id=ab")));
}

TEST_F(LogTest, OnlyLinesUpToTheLevelAreWritten) {
  const auto all = [](const Log& log) {
    log.error("e");
    log.warning("w");
    log.info("i");
    log.debug("d");
  };
  all(log(LogLevel::kError));
  EXPECT_THAT(written(), ElementsAre(HasSubstr(" error ")));
  kept_.lines.clear();
  all(log(LogLevel::kWarning));
  EXPECT_THAT(written(), ElementsAre(HasSubstr(" error "), HasSubstr(" warning ")));
  kept_.lines.clear();
  all(log(LogLevel::kDebug));
  EXPECT_THAT(written(),
              ElementsAre(HasSubstr(" error "), HasSubstr(" warning "), HasSubstr(" info "), HasSubstr(" debug ")));
}

TEST_F(LogTest, ALogWithoutAWriterSaysNothing) {
  const Log none;
  EXPECT_FALSE(none.on(LogLevel::kError));
  none.begin_migration("ab");
  none.error("x", {{"key", 1}});
}

TEST_F(LogTest, NobodyWaitsForADiskThatStandsStillAndWhatIsLostIsCounted) {
  kept_.gate_open = false;
  {
    const Log log = this->log(LogLevel::kInfo);
    log.info("first");
    {
      std::unique_lock lock(kept_.mutex);
      kept_.changed.wait(lock, [&] { return kept_.waits_at_gate; });
    }
    for (int i = 0; i < 5000; ++i) log.info("more", {{"number", i}});  // would never return if it waited
    EXPECT_GT(writer_->lost(), 3000U);
    {
      const std::lock_guard lock(kept_.mutex);
      kept_.gate_open = true;
    }
    kept_.changed.notify_all();
  }
  const auto lost = writer_->lost();
  EXPECT_EQ(written().size() + lost, 5001U);
  EXPECT_THAT(kept_.lines.back(), HasSubstr("number=4999"));
}

TEST_F(LogTest, ALineThatCannotBeWrittenIsCounted) {
  kept_.full = true;
  log(LogLevel::kInfo).info("x");
  // The writer's thread has its own time.
  while (writer_->lost() == 0) std::this_thread::yield();
  EXPECT_EQ(writer_->lost(), 1U);
}

TEST_F(LogTest, LinesOfManyThreadsStayWhole) {
  {
    const Log log = this->log(LogLevel::kInfo);
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < 4; ++thread) {
      threads.emplace_back([&log, thread] {
        for (int i = 0; i < 100; ++i) log.info("x", {{"thread", thread}, {"number", i}});
      });
    }
  }
  ASSERT_EQ(written().size(), 400U);
  std::vector<int> next(4, 0);
  for (const auto& line : kept_.lines) {
    int thread = 0;
    int number = 0;
    ASSERT_EQ(std::sscanf(line.c_str() + line.find("event="), "event=x thread=%d number=%d\n", &thread, &number), 2)
        << line;
    EXPECT_EQ(number, next.at(static_cast<std::size_t>(thread))++) << "a thread's lines are in its order";
  }
}

TEST_F(LogTest, LevelsHaveNames) {
  for (const auto level : {LogLevel::kError, LogLevel::kWarning, LogLevel::kInfo, LogLevel::kDebug}) {
    EXPECT_EQ(log_level_from(name_of(level)), level);
  }
  EXPECT_EQ(log_level_from("loud"), std::nullopt);
}

}  // namespace
}  // namespace godwit
