// Which threads write most, by their page faults: of a real process, and of a /proc made by hand.
#include "throttle/writer_watch.h"

#include <gmock/gmock.h>

#include <fstream>

#include "tests/support/godwit_temp_folder.h"
#include "tests/throttle/busy_process.h"

namespace godwit::writer_watch_test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class WriterWatchOfFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    auto folder = testing::TempFolder::make("/tmp");
    ASSERT_TRUE(folder);
    folder_.emplace(*std::move(folder));
  }
  std::string proc() const { return folder_->path().string(); }
  void set(pid_t thread, std::uint64_t faults) {
    const auto task = folder_->path() / "7" / "task" / std::to_string(thread);
    std::filesystem::create_directories(task);
    std::ofstream(task / "stat") << thread << " (CPU 0) (x) S 1 7 7 0 -1 4194304 " << faults << " 11 12 13 14\n";
  }

 private:
  std::optional<testing::TempFolder> folder_;
};

TEST_F(WriterWatchOfFiles, NamesThoseWithMostOfTheFaultsSinceTheLastLook) {
  for (const pid_t thread : {71, 72, 73, 74}) set(thread, 100'000);
  WriterWatch watch(7, proc());
  set(71, 110'000);
  set(72, 100'100);
  set(73, 103'000);
  const std::vector<pid_t> vcpus = {71, 72, 73, 74};
  EXPECT_THAT(watch.writers(vcpus), ElementsAre(71, 73));
  set(72, 109'000);
  EXPECT_THAT(watch.writers(vcpus), ElementsAre(72)) << "the others have had none since";
}

TEST_F(WriterWatchOfFiles, NamesAllWhereThereWereFew) {
  for (const pid_t thread : {71, 72}) set(thread, 100'000);
  WriterWatch watch(7, proc());
  set(71, 100'300);
  EXPECT_THAT(watch.writers(std::vector<pid_t>{71, 72}), ElementsAre(71, 72));
  EXPECT_THAT(watch.writers({}), IsEmpty());
}

TEST_F(WriterWatchOfFiles, CountsAllOfOneThatHasComeSince) {
  set(71, 100'000);
  WriterWatch watch(7, proc());
  set(72, 5000);
  EXPECT_THAT(watch.writers(std::vector<pid_t>{71, 72}), ElementsAre(72));
}

TEST(WriterWatch, TellsWhichThreadOfAProcessWrites) {
  testing::BusyProcess process(3);
  WriterWatch watch(process.pid(), "/proc");
  process.let_write(1);
  const auto before = process.work(1);
  // Some hundred rounds of 64 pages.
  EXPECT_TRUE(testing::eventually([&] { return process.work(1) > before + 200'000; }));
  EXPECT_THAT(watch.writers(process.threads()), ElementsAre(process.thread(1)));
}

}  // namespace
}  // namespace godwit::writer_watch_test
