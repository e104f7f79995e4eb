#include "app/open_log.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

namespace godwit {
namespace {

TEST(OpenLog, WithoutAFileAndOutsideOfASystemdServiceThereIsNone) {
  const SteadyClock clock;
  const auto log = open_log({.level = LogLevel::kDebug}, clock, nullptr);
  ASSERT_TRUE(log) << log.error().message;
  EXPECT_EQ(log->writer, nullptr);
  EXPECT_FALSE(log->log.on(LogLevel::kError));
  EXPECT_EQ(describe_lost_lines(*log), "");
  // A variable that was inherited: stderr is something else here.
  EXPECT_EQ(open_log({}, clock, "1:2")->writer, nullptr);
}

TEST(OpenLog, AFileIsOpenedAtItsLevel) {
  const std::string path = std::filesystem::temp_directory_path() / ("godwit-open-log-" + std::to_string(::getpid()));
  {
    const SteadyClock clock;
    const auto log = open_log({.file = path, .level = LogLevel::kWarning}, clock, nullptr);
    ASSERT_TRUE(log) << log.error().message;
    log->log.info("not this");
    log->log.warning("this");
  }
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  std::filesystem::remove(path);
  EXPECT_EQ(text.str().find("not this"), std::string::npos);
  EXPECT_NE(text.str().find(" warning elapsed_us="), std::string::npos) << text.str();
}

TEST(OpenLog, AFileThatCannotBeOpenedNamesTheOption) {
  const auto log = open_log({.file = "/no/such/folder/log"}, SteadyClock{}, nullptr);
  ASSERT_FALSE(log);
  EXPECT_EQ(log.error().message, "--log-file: open /no/such/folder/log: No such file or directory");
}

TEST(OpenLog, SaysWhatWasLost) {
  const SteadyClock clock;
  const auto log = open_log({.file = "/dev/full"}, clock, nullptr);
  ASSERT_TRUE(log) << log.error().message;
  log->log.info("one");
  while (log->writer->lost() < 1) std::this_thread::yield();  // the writer's thread has its own time
  EXPECT_EQ(describe_lost_lines(*log), "a line of the log could not be written");
  log->log.info("two");
  while (log->writer->lost() < 2) std::this_thread::yield();
  EXPECT_EQ(describe_lost_lines(*log), "2 lines of the log could not be written");
}

}  // namespace
}  // namespace godwit
