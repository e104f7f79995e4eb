// `godwit probe` writes a log as the other commands do.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "app/commands.h"
#include "app/exit_code.h"

namespace godwit::probe_log_test {
namespace {

using ::testing::HasSubstr;

TEST(ProbeLog, TellsWhatWasAskedAndHowItEnded) {
  const std::string path = std::filesystem::temp_directory_path() / ("godwit-probe-log-" + std::to_string(::getpid()));
  ProbeOptions options;
  options.qmp = "/nonexistent/godwit-probe-log.qmp";
  options.log.file = path;
  EXPECT_EQ(run_probe(options), to_int(ExitCode::kFailed));
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  std::filesystem::remove(path);
  EXPECT_THAT(text.str(), HasSubstr("command=probe qmp=/nonexistent/godwit-probe-log.qmp"));
  EXPECT_THAT(text.str(), HasSubstr("event=failed kind="));
  EXPECT_THAT(text.str(), HasSubstr("event=exit code=1"));
}

TEST(ProbeLog, OneThatCannotBeOpenedIsAnError) {
  ProbeOptions options;
  options.log.file = "/nonexistent/folder/log";
  EXPECT_EQ(run_probe(options), to_int(ExitCode::kUsage));
}

}  // namespace
}  // namespace godwit::probe_log_test
