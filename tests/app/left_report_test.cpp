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

TEST_F(LeftReport, AreListedTheNewestFirst) {
  const auto leave = [&](const char* id, const char* vm, Outcome outcome, std::chrono::hours age) {
    SinkReport report;
    report.id = id;
    report.vm_name = vm;
    report.outcome = outcome;
    if (outcome == Outcome::kInDoubt) report.error = Error{ErrorKind::kHypervisor, "no answer", 0};
    ASSERT_TRUE(leave_report(report, folder_));
    fs::last_write_time(left_report_path(folder_, id), fs::file_time_type::clock::now() - age);
  };
  leave("00000000000a", "vm1", Outcome::kDone, std::chrono::hours(3));
  leave("00000000000b", "vm2", Outcome::kInDoubt, std::chrono::hours(1));
  leave("00000000000c", "vm3", Outcome::kSourceRuns, std::chrono::hours(2));
  const auto found = left_reports_in(folder_);
  ASSERT_EQ(found.size(), 3U);
  EXPECT_EQ(found[0].id, "00000000000b");
  EXPECT_EQ(found[0].vm_name, "vm2");
  EXPECT_EQ(found[0].outcome, "in-doubt");
  EXPECT_EQ(found[0].error, "no answer");
  EXPECT_EQ(found[0].file, folder_ + "/move-00000000000b.json");
  EXPECT_EQ(found[1].outcome, "source-runs");
  EXPECT_EQ(found[1].error, "");
  EXPECT_EQ(found[2].outcome, "done");
  EXPECT_NEAR(static_cast<double>(found[0].written - found[2].written), 2 * 3600, 60);
}

TEST_F(LeftReport, OneThatIsNoneIsNotListed) {
  const std::string right = R"({"type": "sink-report", "outcome": "done", "vm_name": "vm1"})";
  for (const char* name : {"/move-.json", "/move-xyz.json", "/move.json", "/4711-1-boot.journal"}) {
    std::ofstream(folder_ + name) << right;
  }
  const char* const wrong[] = {"", "{", "[]", R"({"outcome": 3})", R"({"outcome": ""})", R"("outcome")"};
  for (std::size_t i = 0; i < std::size(wrong); ++i) {
    std::ofstream(left_report_path(folder_, "a" + std::to_string(i))) << wrong[i];
  }
  std::ofstream(left_report_path(folder_, "b0")) << right << std::string(100'000, ' ');
  fs::create_directory(left_report_path(folder_, "b1"));
  fs::create_symlink("/dev/zero", left_report_path(folder_, "b2"));
  EXPECT_TRUE(left_reports_in(folder_).empty());
  EXPECT_TRUE(left_reports_in(folder_ + "/nowhere").empty());
  std::ofstream(left_report_path(folder_, "b3")) << R"({"outcome": "done", "vm_name": [], "error": "odd"})";
  ASSERT_EQ(left_reports_in(folder_).size(), 1U);
  EXPECT_EQ(left_reports_in(folder_)[0].vm_name, "");
}

}  // namespace
}  // namespace godwit::left_report_test
