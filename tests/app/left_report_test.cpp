#include "app/left_report.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

namespace godwit::left_report_test {
namespace {

namespace fs = std::filesystem;

class LeftReport : public ::testing::Test {
 protected:
  LeftReport() {
    std::string name = fs::temp_directory_path() / "godwit-left-XXXXXX";
    EXPECT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  ~LeftReport() override { fs::remove_all(folder_); }
  std::size_t files() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }
  std::string folder_;
};

TEST_F(LeftReport, IsFoundByTheMovesId) {
  SinkReport report;
  report.id = "3f2a9c01d4e7";
  report.outcome = Outcome::kInDoubt;
  ASSERT_TRUE(leave_report(report, folder_));
  std::ifstream file(folder_ + "/move-3f2a9c01d4e7.json");
  const std::string text(std::istreambuf_iterator<char>(file), {});
  EXPECT_NE(text.find("\"in-doubt\""), std::string::npos) << text;
}

TEST_F(LeftReport, IsNotLeftUnderANameThatAPeerMakesUp) {
  SinkReport report;
  for (const char* id : {"", "../../etc/passwd", "x"}) {
    report.id = id;
    EXPECT_TRUE(leave_report(report, folder_));
  }
  EXPECT_EQ(files(), 0U);
}

TEST_F(LeftReport, IsRemovedAfterAWeek) {
  for (const char* name : {"/move-000000000001.json", "/4711-1-boot.journal"}) {
    std::ofstream(folder_ + name) << "{}";
    fs::last_write_time(folder_ + name, fs::file_time_type::clock::now() - std::chrono::hours(8 * 24));
  }
  std::ofstream(folder_ + "/move-000000000002.json") << "{}";
  SinkReport report;
  report.id = "3f2a9c01d4e7";
  ASSERT_TRUE(leave_report(report, folder_));
  EXPECT_FALSE(fs::exists(folder_ + "/move-000000000001.json"));
  EXPECT_EQ(files(), 3U);
}

}  // namespace
}  // namespace godwit::left_report_test
