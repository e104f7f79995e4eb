#include "app/monitor_folder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "net/channel.h"
#include "tests/support/godwit_temp_folder.h"

namespace godwit::testing::monitor_folder_test {
namespace {

using ::testing::HasSubstr;

class MonitorFolder : public ::testing::Test {
 protected:
  void SetUp() override { folder_ = std::move(TempFolder::make(std::filesystem::temp_directory_path()).value()); }
  std::string path(const std::string& name = "") const {
    return folder_.path().string() + (name.empty() ? "" : "/" + name);
  }
  std::unique_ptr<Listener> monitor(const std::string& name) {
    return std::move(listen_on({.kind = Address::Kind::kUnix, .path = path(name)}).value());
  }

 private:
  TempFolder folder_;
};

TEST_F(MonitorFolder, HasEachVmsMonitorUnderItsName) {
  const auto a = monitor("a"), b = monitor("b.qmp"), c = monitor("c.qmp");
  EXPECT_EQ(monitor_for(path(), "a"), path("a"));
  EXPECT_EQ(monitor_for(path(), "b"), path("b.qmp"));
  EXPECT_EQ(monitor_for(path(), "c.qmp"), path("c.qmp"));
  const auto none = monitor_for(path(), "d");
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().kind, ErrorKind::kNotFound);
  EXPECT_THAT(none.error().message, HasSubstr("called 'd'"));
}

/// The name comes from a peer.
TEST_F(MonitorFolder, IsNotLeftByAName) {
  std::filesystem::create_directory(path("inner"));
  const auto outside = monitor("outside");
  for (const std::string name : {"", "../outside", "/etc/passwd", ".", "..", ".hidden", "a/b"}) {
    const auto refused = monitor_for(path("inner"), name);
    ASSERT_FALSE(refused) << name;
    EXPECT_EQ(refused.error().kind, ErrorKind::kRefused) << name;
  }
  EXPECT_FALSE(monitor_for(path("inner"), std::string("a\0b", 3)));
  EXPECT_FALSE(monitor_for(path("inner"), std::string(5000, 'n')));
}

TEST_F(MonitorFolder, TakesNothingButSockets) {
  std::ofstream(path("file")) << "x";
  EXPECT_FALSE(monitor_for(path(), "file"));
}

}  // namespace
}  // namespace godwit::testing::monitor_folder_test
