// The guest's start at the sink, at a QEMU that the test plays.
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>
#include <future>
#include <nlohmann/json.hpp>

#include "attach/remote_process.h"
#include "tests/support/kept_record.h"
#include "vmm/qemu/qemu_vm.h"

namespace godwit::qemu::sink_start_test {
namespace {

/// Tells of the guest's start at once, and answers `cont` only when the test says so.
class SlowToAnswer final : public Qmp {
 public:
  using Qmp::execute;
  Result<Json> execute(std::string_view command, const Json&) override {
    if (command != "cont") return Json::object();
    asked_by = std::to_string(::syscall(SYS_gettid));
    if (refuses) return fail(ErrorKind::kHypervisor, "the disk is locked");
    on_event_("RESUME", Json::object(), SteadyClock().now());
    answered.wait();
    return Json::object();
  }
  Result<Json> execute_with_descriptor(std::string_view, const Json&, int) override { return Json::object(); }
  void on_event(OnEvent handler) override { on_event_ = std::move(handler); }
  void on_lost(std::function<void()>) override {}
  pid_t peer_pid() const noexcept override { return 0; }

  void tell(const std::string& event, const Json& data = Json::object()) {
    on_event_(event, data, SteadyClock().now());
  }

  std::shared_future<void> answered;
  bool refuses = false;
  std::string asked_by;  ///< the thread that sent `cont`

 private:
  OnEvent on_event_;
};

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
    sink_ = make_sink_vm(vm_, {}, record_, clock_);
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

TEST_F(SinkStart, ThatIsRefusedMayBeTriedAgain) {
  played_->refuses = true;
  const Status refused = sink_->resume();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kRefused) << refused.error().message;
  played_->refuses = false;
  answer_.set_value();
  EXPECT_TRUE(sink_->resume());
}

/// After a commit a thread that cannot be started would leave the guest paused in both QEMUs.
TEST_F(SinkStart, NeedsNoThreadThatDoesNotRunYet) {
  std::vector<std::string> before;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
    before.push_back(thread.path().filename());
  }
  answer_.set_value();
  ASSERT_TRUE(sink_->resume());
  EXPECT_NE(std::ranges::find(before, played_->asked_by), before.end());
}

TEST_F(SinkStart, IsNotForAQemuThatSomebodyElseHasLetRun) {
  EXPECT_TRUE(sink_->check_waits());
  played_->tell("RESUME");
  const Status used = sink_->check_waits();
  ASSERT_FALSE(used);
  EXPECT_NE(used.error().message.find("somebody else let the guest run"), std::string::npos) << used.error().message;
  EXPECT_TRUE(sink_->check_alive());
}

TEST_F(SinkStart, IsNotForAQemuThatTakesInAnotherVm) {
  played_->tell("MIGRATION", {{"status", "setup"}});
  const Status used = sink_->check_waits();
  ASSERT_FALSE(used);
  EXPECT_NE(used.error().message.find("another VM"), std::string::npos) << used.error().message;
}

TEST_F(SinkStart, TellsWhereItsTimeWent) {
  std::optional<GuestStart> told;
  sink_.reset();  // the monitor has one listener
  sink_ = make_sink_vm(vm_, {}, record_, clock_, [&](const GuestStart& start) { told = start; });
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
