#include "base/private_folder.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/support/godwit_temp_folder.h"

namespace godwit::private_folder_test {
namespace {

namespace fs = std::filesystem;

class PrivateFolderTest : public ::testing::Test {
 protected:
  std::size_t count() const {
    std::error_code none;
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(parent_, none), fs::directory_iterator()));
  }
  testing::TempFolder folder_ = std::move(testing::TempFolder::make("/tmp").value());
  std::string parent_ = (folder_.path() / "state").string();
};

TEST_F(PrivateFolderTest, IsForThisUserAloneAndGoesWithItsContent) {
  {
    const auto made = PrivateFolder::make(parent_);
    ASSERT_TRUE(made) << made.error().message;
    struct stat found {};
    ASSERT_EQ(::stat(made->path().c_str(), &found), 0);
    EXPECT_EQ(found.st_mode & 07777, 0700U);
    std::ofstream(made->path() + "/socket") << "x";
    EXPECT_EQ(count(), 1U);
  }
  EXPECT_EQ(count(), 0U);
}

TEST_F(PrivateFolderTest, IsNotTakenForAbandonedWhileItsProcessIsAlive) {
  auto first = PrivateFolder::make(parent_);
  const auto second = PrivateFolder::make(parent_);
  ASSERT_TRUE(first && second);
  EXPECT_NE(first->path(), second->path());
  EXPECT_EQ(count(), 2U);
  first->remove();
  EXPECT_EQ(count(), 1U);
}

TEST_F(PrivateFolderTest, OfADeadProcessIsRemovedByTheNext) {
  const pid_t child = ::fork();
  if (child == 0) {
    const auto made = PrivateFolder::make(parent_);
    std::ofstream(made->path() + "/socket") << "x";
    ::raise(SIGKILL);
  }
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  ASSERT_EQ(count(), 1U);
  fs::create_directory(parent_ + "/other");
  const auto next = PrivateFolder::make(parent_);
  ASSERT_TRUE(next);
  EXPECT_EQ(count(), 2U) << "its own, and what is not for it to remove";
}

}  // namespace
}  // namespace godwit::private_folder_test
