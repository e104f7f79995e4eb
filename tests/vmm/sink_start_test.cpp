// The guest's start at the sink, at a QEMU that the test plays.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <future>
#include <nlohmann/json.hpp>

#include "attach/remote_process.h"
#include "base/unique_fd.h"
#include "tests/support/godwit_temp_folder.h"
#include "tests/support/kept_record.h"
#include "vmm/qemu/cached_images.h"
#include "vmm/qemu/qemu_vm.h"

namespace godwit::qemu::sink_start_test {
namespace {

/// Tells of the guest's start at once, and answers `cont` only when the test says so.
class SlowToAnswer final : public Qmp {
 public:
  using Qmp::execute;
  Result<Json> execute(std::string_view command, const Json&) override {
    if (command != "cont") return Json::object();
    if (refuses) return fail(ErrorKind::kHypervisor, "the disk is locked");
    on_event_("RESUME", Json::object(), SteadyClock().now());
    answered.wait();
    return Json::object();
  }
  Status give_descriptor(std::string_view, int) override { return {}; }
  void on_event(OnEvent handler) override { on_event_ = std::move(handler); }
  void on_lost(std::function<void()>) override {}
  pid_t peer_pid() const noexcept override { return 0; }

  std::shared_future<void> answered;
  bool refuses = false;

 private:
  OnEvent on_event_;
};

/// Pages of the file that lie in the page cache.
std::size_t cached_pages(const std::string& path) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const auto size = static_cast<std::size_t>(::lseek(file.get(), 0, SEEK_END));
  void* memory = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.get(), 0);
  if (memory == MAP_FAILED) return 0;
  std::vector<unsigned char> pages(size / 4096);
  EXPECT_EQ(::mincore(memory, size, pages.data()), 0);
  ::munmap(memory, size);
  return static_cast<std::size_t>(std::ranges::count_if(pages, [](unsigned char page) { return (page & 1) != 0; }));
}

class SinkStart : public ::testing::Test {
 protected:
  void SetUp() override {
    auto qmp = std::make_unique<SlowToAnswer>();
    qmp->answered = answer_.get_future().share();
    played_ = qmp.get();
    vm_.qmp = std::move(qmp);
    auto process = RemoteProcess::open(::getpid());
    ASSERT_TRUE(process) << process.error().message;
    vm_.process = std::make_unique<RemoteProcess>(std::move(*process));
    sink_ = make_sink_vm(vm_, record_, clock_);
  }

  std::promise<void> answer_;
  SlowToAnswer* played_ = nullptr;
  QemuVm vm_;
  testing::KeptRecord record_;
  SteadyClock clock_;
  std::unique_ptr<SinkVm> sink_;
};

TEST_F(SinkStart, IsOverWhenTheGuestRunsNotWhenQemuAnswers) {
  auto started = std::async(std::launch::async, [&] { return sink_->resume(); });
  const bool in_time = started.wait_for(std::chrono::seconds(20)) == std::future_status::ready;
  answer_.set_value();
  EXPECT_TRUE(in_time) << "it waits for the answer";
  EXPECT_TRUE(started.get());
  EXPECT_FALSE(sink_->end_unrun()) << "a guest that runs was taken for one that never did";
}

/// QEMU would drop them at its `cont`, with the guest paused.
TEST_F(SinkStart, FindsNoPagesOfImagesInThePageCache) {
  const auto folder = testing::TempFolder::make("/var/tmp");  // on a disk: a tmpfs is nothing but page cache
  ASSERT_TRUE(folder);
  const std::string image = folder->path() / "image";
  std::ofstream(image) << std::string(16 << 20, 'x');
  const UniqueFd held(::open(image.c_str(), O_RDWR | O_CLOEXEC));
  if (cached_pages(image) == 0) GTEST_SKIP() << "this file system has no page cache";
  CachedImages images(*vm_.qmp, *vm_.process, {{.format = "raw", .file = image}});
  images.drop();
  for (int i = 0; i < 1000 && cached_pages(image) > 0; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(cached_pages(image), 0u);
  answer_.set_value();
}

TEST_F(SinkStart, ThatIsRefusedMayBeTriedAgain) {
  played_->refuses = true;
  const Status refused = sink_->resume();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kRefused) << refused.error().message;
  played_->refuses = false;
  answer_.set_value();
  EXPECT_TRUE(sink_->resume());
}

TEST_F(SinkStart, TellsWhereItsTimeWent) {
  std::optional<GuestStart> told;
  sink_.reset();  // the monitor has one listener
  sink_ = make_sink_vm(vm_, record_, clock_, [&](const GuestStart& start) { told = start; });
  played_->refuses = true;
  ASSERT_FALSE(sink_->resume());
  EXPECT_FALSE(told) << "it did not start";
  played_->refuses = false;
  answer_.set_value();
  const Instant before = clock_.now();
  ASSERT_TRUE(sink_->resume());
  ASSERT_TRUE(told);
  EXPECT_GE(told->asked, before) << "of the try that succeeded";
  EXPECT_GE(told->sent, told->asked);
  EXPECT_GE(told->resumed, told->sent);
  EXPECT_GE(told->heard, told->resumed);
  EXPECT_GE(clock_.now(), told->heard);
}

}  // namespace
}  // namespace godwit::qemu::sink_start_test
