// A hand-over from a QEMU that the test plays: its stream, its events and its answers, in any order.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <atomic>
#include <future>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/units.h"
#include "tests/support/kept_record.h"
#include "tests/support/manual_clock.h"
#include "tests/vmm/handover_observer.h"
#include "tests/vmm/stream_builder.h"
#include "vmm/qemu/handover.h"

namespace godwit::qemu::scripted_handover_test {
namespace {

using godwit::testing::KeptRecord;
using godwit::testing::RecordingObserver;
using godwit::testing::StreamBuilder;
using std::chrono::milliseconds;
using ::testing::HasSubstr;

class PlayedQemu final : public Qmp {
 public:
  using Qmp::execute;
  Result<Json> execute(std::string_view command, const Json&) override {
    if (on_command) on_command(command);
    if (command == "query-status") return Json{{"status", status}, {"running", false}};
    if (command == "query-migrate") return Json{{"status", "completed"}, {"ram", Json::object()}};
    return Json::object();
  }
  Result<Json> execute_with_descriptor(std::string_view, const Json&, int fd) override {
    stream_.reset(::dup(fd));
    return Json::object();
  }
  void on_event(OnEvent handler) override { on_event_ = std::move(handler); }
  void on_lost(std::function<void()>) override {}
  pid_t peer_pid() const noexcept override { return 0; }

  void tell(const std::string& event, const Json& data) {
    if (on_event_) on_event_(event, data, SteadyClock().now());
  }
  void write(Bytes bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(stream_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;  // the hand-over has ended
      bytes = bytes.subspan(static_cast<std::size_t>(sent));
    }
  }
  void complete() {
    stream_.reset();
    tell("MIGRATION", {{"status", "completed"}});
  }

  std::function<void(std::string_view)> on_command;  ///< set before a command may come
  std::string status = "postmigrate";                ///< likewise

 private:
  UniqueFd stream_;
  OnEvent on_event_;
};

/// Up to the end of main memory, which the lanes move, with pages of video memory in the last part, which begin so.
StreamBuilder memory(unsigned video_pages, const std::string& beginning = "") {
  const std::uint64_t length = std::max(1U, video_pages) * kPageSize;
  StreamBuilder stream;
  stream.header().configuration("pc").ignore_shared().start().sizes({{"ram", kPageSize}, {"vga.vram", length}}, true);
  stream.eos().footer();
  stream.part();
  for (std::uint64_t at = 0; at < length; at += kPageSize) stream.zero("vga.vram", at);
  stream.eos().footer();
  stream.end();
  for (unsigned page = 0; page < video_pages; ++page) {
    stream.be(page * kPageSize | 8, 8)
        .text("vga.vram")
        .raw(beginning)
        .raw(std::string(kPageSize - beginning.size(), 'v'));
  }
  stream.eos().footer();
  return stream;
}

StreamBuilder& add_global_state(StreamBuilder& stream, std::string_view state) {
  stream.be(4, 1).be(5, 4).text("globalstate").be(0, 4).be(1, 4).be(100, 4);
  return stream.raw(state).raw(std::string(100 - state.size(), '\0')).be(0x7e, 1).be(5, 4);
}

class ScriptedHandover : public ::testing::Test {
 protected:
  void begin() {
    auto handover = StreamHandover::open(qemu_, {.dropped_blocks = {"ram"}}, observer_, record_, clock_);
    ASSERT_TRUE(handover) << handover.error().message;
    const Status ordered = (*handover)->order({});
    ASSERT_TRUE(ordered) << ordered.error().message;
    handover_ = std::move(*handover);
    qemu_.tell("MIGRATION", {{"status", "active"}});
  }
  void expect_failed(const std::string& words) {
    ASSERT_TRUE(observer_.await_end());
    EXPECT_FALSE(observer_.ended);
    ASSERT_TRUE(observer_.failed);
    EXPECT_THAT(observer_.failed->message, HasSubstr(words));
  }

  SteadyClock clock_;
  PlayedQemu qemu_;
  KeptRecord record_;
  RecordingObserver observer_;
  std::unique_ptr<StreamHandover> handover_;
};

TEST_F(ScriptedHandover, IsCompleteWithTheStateOfTheGuest) {
  begin();
  auto stream = memory(3);
  qemu_.write(add_global_state(stream, "running").raw("devices").bytes());
  qemu_.complete();
  ASSERT_TRUE(observer_.await_end());
  EXPECT_FALSE(observer_.failed) << observer_.failed->message;
  EXPECT_TRUE(handover_->complete());
}

/// QEMU says that it has completed; whether the guest ran when it was stopped nobody has read.
TEST_F(ScriptedHandover, IsNotCompleteWithoutTheStateOfTheGuest) {
  begin();
  qemu_.write(memory(0).raw("devices").bytes());
  qemu_.complete();
  expect_failed("in which state the guest was");
  EXPECT_FALSE(handover_->complete());
}

TEST_F(ScriptedHandover, AGuestThatShutDownJustBeforeTheStopIsNotHandedOver) {
  begin();
  auto stream = memory(0);
  qemu_.write(add_global_state(stream, "shutdown").bytes());
  qemu_.complete();
  expect_failed("the guest has shut down");
}

/// It is read behind RAM, however much of it there is.
TEST_F(ScriptedHandover, TheStateOfTheGuestIsFoundBehindMegabytesOfVideoMemory) {
  begin();
  auto stream = memory(1024);
  qemu_.write(add_global_state(stream, "running").raw("devices").bytes());
  qemu_.complete();
  ASSERT_TRUE(observer_.await_end());
  EXPECT_FALSE(observer_.failed) << observer_.failed->message;
  EXPECT_TRUE(handover_->complete());
}

/// A guest can write into its video memory what it likes.
TEST_F(ScriptedHandover, TheStateOfTheGuestIsNotWhatItsVideoMemorySays) {
  begin();
  StreamBuilder lie;
  auto stream = memory(3, add_global_state(lie, "running").str());
  qemu_.write(add_global_state(stream, "shutdown").bytes());
  qemu_.complete();
  expect_failed("the guest has shut down");
}

/// Nor what its devices hold, which QEMU sends before the state or behind it.
TEST_F(ScriptedHandover, TheStateOfTheGuestIsNotWhatItsDevicesSay) {
  begin();
  auto stream = memory(0);
  add_global_state(stream, "running");
  qemu_.write(add_global_state(stream, "shutdown").bytes());
  qemu_.complete();
  expect_failed("different states");
}

/// By QEMU's measure little was left; then the guest repainted its screen.
TEST_F(ScriptedHandover, VideoMemoryThatDoesNotFitIntoThePauseIsNotWaitedFor) {
  constexpr unsigned kPages = 1024;
  observer_.fits = 256 * kKiB;
  begin();
  auto stream = memory(kPages);
  qemu_.write(add_global_state(stream, "running").bytes());
  qemu_.complete();
  expect_failed("more video memory just before it was stopped");
  EXPECT_LT(observer_.take_bytes().size() - observer_.before_stop, kPages * kPageSize / 2)
      << "it was sent all the same";
}

/// A QEMU that does not answer waits for a disk with its guest paused, or is only busy: then the guest runs.
TEST_F(ScriptedHandover, AGuestThatRunsIsNotTakenForPausedWhileQemuIsSilent) {
  godwit::testing::ManualClock clock;
  clock.advance(std::chrono::seconds(1));
  const auto asked = std::make_shared<std::promise<void>>();
  const auto answer = std::make_shared<std::promise<void>>();
  const auto is_answered = answer->get_future().share();
  qemu_.on_command = [asked, is_answered, first = true](std::string_view command) mutable {
    if (command != "query-status" || !std::exchange(first, false)) return;
    asked->set_value();
    is_answered.wait();
  };
  std::atomic<bool> runs{true};
  std::atomic<std::uint64_t> looks{0}, ran{0};
  auto handover = StreamHandover::open(qemu_, {.dropped_blocks = {"ram"}, .push_every = milliseconds(5)}, observer_,
                                       record_, clock);
  ASSERT_TRUE(handover) << handover.error().message;
  ASSERT_TRUE((*handover)->order({.vcpus_ran = [&] {
    ++looks;
    if (runs) ran += 400'000'000;
    return ran.load();
  }}));
  asked->get_future().wait();
  const auto told = [&] {
    return observer_.await([](const auto& o) { return o.stopping.has_value(); }, std::chrono::seconds(0));
  };
  const auto next_look = [&] {
    clock.advance(std::chrono::seconds(3));
    const auto before = looks.load();
    for (int i = 0; i < 1000 && looks < before + 2 && !told(); ++i) std::this_thread::sleep_for(milliseconds(5));
  };
  for (int i = 0; i < 4; ++i) next_look();
  EXPECT_FALSE(told());
  runs = false;
  for (int i = 0; i < 3; ++i) next_look();
  EXPECT_TRUE(told());
  answer->set_value();
}

/// QEMU answers, so that no disk keeps it, and says that the guest has been paused by others than itself.
TEST_F(ScriptedHandover, AStopThatIsSomebodyElsesIsNotTakenForTheHandOversOwn) {
  qemu_.status = "paused";
  begin();
  qemu_.tell("STOP", Json::object());
  ASSERT_TRUE(observer_.await([](const auto& o) { return o.stopped_by_others.has_value(); }));
  EXPECT_EQ(observer_.stopped_by_others, observer_.stopping);
  // It goes on with the guest paused, and tells of a stop of its own as ever.
  qemu_.tell("RESUME", Json::object());
  qemu_.tell("STOP", Json::object());
  EXPECT_TRUE(observer_.await([](const auto& o) { return o.stopping > o.stopped_by_others; }));
  auto stream = memory(3);
  qemu_.write(add_global_state(stream, "paused").raw("devices").bytes());
  qemu_.complete();
  ASSERT_TRUE(observer_.await_end());
  EXPECT_FALSE(observer_.failed) << observer_.failed->message;
  EXPECT_TRUE(handover_->hands_over_paused());
}

/// Between the answer and what is made of it somebody has let the guest run again: the move must not be committed.
TEST_F(ScriptedHandover, AGuestThatIsLetRunAgainWhileItIsAskedAboutIsNotTakenForPaused) {
  qemu_.status = "paused";
  qemu_.on_command = [this](std::string_view command) {
    if (command == "query-status") qemu_.tell("RESUME", Json::object());
  };
  begin();
  qemu_.tell("STOP", Json::object());
  ASSERT_TRUE(observer_.await([](const auto& o) { return o.stopped_by_others.has_value(); }));
  EXPECT_TRUE(handover_->resumed());
}

TEST_F(ScriptedHandover, TheHandOversOwnStopIsNotTakenForSomebodyElses) {
  qemu_.status = "finish-migrate";
  const auto asked = std::make_shared<std::atomic<unsigned>>(0);
  qemu_.on_command = [asked](std::string_view command) { *asked += command == "query-status" ? 1 : 0; };
  begin();
  qemu_.tell("STOP", Json::object());
  for (int i = 0; i < 20'000 && *asked == 0; ++i) std::this_thread::sleep_for(milliseconds(1));
  EXPECT_GT(*asked, 0U);
  auto stream = memory(3);
  qemu_.write(add_global_state(stream, "running").raw("devices").bytes());
  qemu_.complete();
  ASSERT_TRUE(observer_.await_end());
  handover_.reset();
  EXPECT_FALSE(observer_.stopped_by_others);
}

/// While the end of the migration is written down nobody waits for events; they are known all the same.
TEST_F(ScriptedHandover, AnEventThatComesWhileTheEndIsWrittenDownIsKnownAtOnce) {
  // Shared with the hand-over's thread, which may still be in them when this function has returned.
  const auto asked = std::make_shared<std::promise<void>>();
  const auto answer = std::make_shared<std::promise<void>>();
  const auto was_asked = asked->get_future();
  const auto is_answered = answer->get_future().share();
  qemu_.on_command = [asked, is_answered, first = true](std::string_view command) mutable {
    if (command != "query-status" || !std::exchange(first, false)) return;
    asked->set_value();
    is_answered.wait();
  };
  begin();
  auto stream = memory(0);
  qemu_.write(add_global_state(stream, "running").bytes());
  qemu_.complete();
  was_asked.wait();
  EXPECT_TRUE(handover_->told_of_no_change());
  qemu_.tell("DEVICE_DELETED", {{"device", "tab"}});
  const Status told = handover_->told_of_no_change();
  answer->set_value();
  ASSERT_FALSE(told);
  EXPECT_EQ(told.error().kind, ErrorKind::kRefused);
  EXPECT_THAT(told.error().message, HasSubstr("device 'tab'"));
}

}  // namespace
}  // namespace godwit::qemu::scripted_handover_test
