// Files that answer, and files that never do: a FUSE file system that nobody serves.
#include "vmm/qemu/image_look.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>

#include "base/small_files.h"
#include "base/unique_fd.h"
#include "tests/support/godwit_temp_folder.h"
#include "vmm/qemu/image_file.h"

namespace godwit::qemu::image_look_test {
namespace {

using godwit::testing::TempFolder;
using State = ImageAnswer::State;

/// Whoever asks for a file below it waits until this object goes.
class DeadServer {
 public:
  explicit DeadServer(const std::filesystem::path& folder)
      : folder_(folder), fuse_(::open("/dev/fuse", O_RDWR | O_CLOEXEC)) {
    const auto options = fmt::format("fd={},rootmode=40000,user_id=0,group_id=0", fuse_.get());
    mounted_ = fuse_ && ::mount("dead", folder.c_str(), "fuse", 0, options.c_str()) == 0;
  }
  ~DeadServer() {
    fuse_.reset();
    if (mounted_) ::umount2(folder_.c_str(), MNT_DETACH);
  }
  bool mounted() const { return mounted_; }

 private:
  std::filesystem::path folder_;
  UniqueFd fuse_;
  bool mounted_ = false;
};

class ImageLook : public ::testing::Test {
 protected:
  void SetUp() override {
    auto folder = TempFolder::make("/tmp");
    ASSERT_TRUE(folder) << folder.error().message;
    folder_ = std::move(*folder);
    auto self = RemoteProcess::open(::getpid());
    ASSERT_TRUE(self) << self.error().message;
    self_.emplace(std::move(*self));
  }
  /// A file of 1 MiB, and this process has it open.
  std::string image(const std::string& name) {
    const auto path = folder_.path() / name;
    std::ofstream(path) << std::string(1 << 20, 'x');
    held_.emplace_back(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    return path.string();
  }
  std::vector<pid_t> children() const {
    const auto text = read_whole_file(fmt::format("/proc/self/task/{}/children", ::getpid()), 1 << 16);
    std::vector<pid_t> pids;
    std::istringstream in(text.value_or(""));
    for (pid_t pid = 0; in >> pid;) pids.push_back(pid);
    return pids;
  }

  TempFolder folder_;
  std::optional<RemoteProcess> self_;
  std::vector<UniqueFd> held_;
};

TEST_F(ImageLook, TellsWhatAFileIsAndHolds) {
  const auto path = image("a");
  const auto taken = look_at_images(*self_, {{.path = path, .parts = 4, .offsets = {}, .key = 7}});
  ASSERT_EQ(taken.size(), 1u);
  EXPECT_EQ(taken[0].state, State::kLookedAt);
  EXPECT_TRUE(S_ISREG(taken[0].mode));
  EXPECT_NE(taken[0].inode, 0u);
  ASSERT_EQ(taken[0].samples.size(), 4u);
  const auto again = look_at_images(*self_, {{.path = path, .parts = 0, .offsets = {0, 262144, 1 << 30}, .key = 7}});
  ASSERT_EQ(again[0].samples.size(), 3u);
  EXPECT_EQ(again[0].samples[1], taken[0].samples[1]);
  EXPECT_NE(again[0].samples[2].hash, taken[0].samples[1].hash) << "behind the end of the file";
  EXPECT_TRUE(children().empty());
}

TEST_F(ImageLook, AFileThatTheProcessDoesNotHaveOpenIsNotLookedAt) {
  const auto path = image("a");
  held_.clear();
  EXPECT_EQ(look_at_images(*self_, {{.path = path}})[0].state, State::kFailed);
  EXPECT_EQ(look_at_images(*self_, {{.path = path + "-is-not-there"}})[0].state, State::kFailed);
}

TEST_F(ImageLook, AServerThatIsGoneCostsItsOwnFilesOnly) {
  std::filesystem::create_directory(folder_.path() / "dead");
  const auto first = image("a");
  const auto last = image("b");
  const DeadServer dead(folder_.path() / "dead");
  if (!dead.mounted()) GTEST_SKIP() << "no FUSE file system can be mounted here";
  std::vector<ImageQuestion> questions{{.path = first}};
  for (int i = 0; i < 4; ++i) questions.push_back({.path = (folder_.path() / "dead" / std::to_string(i)).string()});
  questions.push_back({.path = last});
  const auto answers = look_at_images(*self_, questions);
  EXPECT_EQ(answers.front().state, State::kLookedAt);
  for (int i = 1; i <= 4; ++i) EXPECT_EQ(answers[static_cast<std::size_t>(i)].state, State::kSilent) << i;
  EXPECT_EQ(answers.back().state, State::kLookedAt);
  EXPECT_TRUE(children().empty()) << "FUSE lets go whom SIGKILL ends";
}

TEST(ServerNumbersFiles, OnlyWhereTheMountSaysSo) {
  const char* mounts =
      "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
      "40 22 0:51 / /images rw,relatime shared:1 - cifs //server/a rw,vers=3.1.1,serverino,actimeo=1\n"
      "41 22 0:52 / /other rw,relatime shared:1 - cifs //server/b rw,vers=3.1.1,noserverino,actimeo=1\n";
  EXPECT_TRUE(server_numbers_files(mounts, makedev(0, 51)));
  EXPECT_FALSE(server_numbers_files(mounts, makedev(0, 52)));
  EXPECT_FALSE(server_numbers_files(mounts, makedev(8, 1)));
  EXPECT_FALSE(server_numbers_files(mounts, makedev(0, 53)));
  EXPECT_FALSE(server_numbers_files("", makedev(0, 51)));
}

}  // namespace
}  // namespace godwit::qemu::image_look_test
