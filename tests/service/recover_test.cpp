// What an engine that died left: each state of its journal, met by each state that QEMU may be in.
#include "service/recover.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

#include "base/small_files.h"
#include "tests/vmm/scripted_qmp.h"
#include "throttle/undo_record.h"
#include "vmm/qemu/handover_mark.h"
#include "vmm/qemu/revive.h"

namespace godwit {
namespace {

using ::testing::HasSubstr;
using State = Journal::State;

/// As much of QEMU as this looks at: a guest's state, its last migration, and what is set for the next.
class FakeMonitor final : public qemu::Qmp {
 public:
  explicit FakeMonitor(std::string status) { set_status(std::move(status)); }
  Result<qemu::Json> execute(std::string_view command, const qemu::Json& arguments) override {
    auto answer = qmp.execute(command, arguments);
    if (command == "cont") set_status("running");
    return answer;
  }
  Result<qemu::Json> execute_with_descriptor(std::string_view, const qemu::Json&, int) override {
    return fail(ErrorKind::kUnsupported, "no descriptors");
  }
  void on_event(OnEvent) override {}
  void on_lost(std::function<void()>) override {}
  pid_t peer_pid() const noexcept override { return 0; }

  void set_status(const std::string& status) {
    qmp.set("query-status", {{"status", status}, {"running", status == "running"}});
  }
  bool asked(std::string_view command) const {
    return std::ranges::any_of(qmp.log, [&](const std::string& each) { return each.starts_with(command); });
  }

  testing::ScriptedQmp qmp;
};

/// A thread of this process that is stopped, as a paused vCPU does.
class StoppedThread {
 public:
  StoppedThread() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return id_ != 0; });
  }
  pid_t id() const { return id_; }

 private:
  std::mutex mutex_;
  std::condition_variable_any changed_;
  pid_t id_ = 0;
  std::jthread thread_{[this](const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    id_ = ::gettid();
    changed_.notify_all();
    changed_.wait(lock, stop, [] { return false; });
  }};
};

class Recover : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = std::filesystem::temp_directory_path() / "godwit-recover-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  VmProcess this_process() const {
    const auto process = RemoteProcess::open(::getpid());
    return {process->pid(), process->start_time()};
  }
  /// An engine comes as far as this, and dies.
  template <typename Act>
  void leave(Act act) {
    auto journal = Journal::open(folder_, this_process()).value();
    act(journal);
  }
  State left() const { return Journal::peek(folder_, this_process()).value(); }
  static qemu::Json numbers(unsigned normal = 100) {
    return qemu::Json::parse(fmt::format(
        R"({{"status": "completed", "total-time": 50, "downtime": 20, "setup-time": 1,
             "ram": {{"transferred": 1000, "normal": {}, "duplicate": 3}}}})",
        normal));
  }
  /// A QEMU in this state.
  void meet(const std::string& status) {
    auto monitor = std::make_unique<FakeMonitor>(status);
    monitor_ = monitor.get();
    monitor_->qmp.set("query-migrate", status == "postmigrate" ? numbers() : qemu::Json::object());
    monitor_->qmp.set_text("query-migrate-capabilities", R"([{"capability": "x-ignore-shared", "state": false}])");
    monitor_->qmp.set_text("query-migrate-parameters", R"({"downtime-limit": 17})");
    monitor_->qmp.set_text("migrate-set-parameters", "{}");
    monitor_->qmp.set_text("migrate-set-capabilities", "{}");
    monitor_->qmp.set_text("cont", "{}");
    monitor_->qmp.set_text("announce-self", "{}");
    monitor_->qmp.set("query-cpus-fast", qemu::Json::parse(fmt::format(R"([{{"thread-id": {}}}])", vcpu_.id())));
    vm_ = {};
    vm_.qmp = std::move(monitor);
    vm_.process = std::make_unique<RemoteProcess>(RemoteProcess::open(::getpid()).value());
    vm_.inspection.status = status;
    notes_.clear();
  }
  Result<LeftBehind> recover() {
    return recover_if_left_behind(vm_, folder_, [this](std::string_view note) { notes_ += std::string(note) + "\n"; });
  }
  /// Nobody lets the guest run, and it ends like this.
  void expect_left_alone(LeftBehind expected) {
    const auto found = recover();
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_EQ(*found, expected) << notes_;
    EXPECT_FALSE(monitor_->asked("cont"));
    EXPECT_FALSE(monitor_->asked("migrate_cancel"));
    // What was seen to is forgotten; what an operator has to decide is not.
    const bool kept = expected == LeftBehind::kUnclear || expected == LeftBehind::kCommitted;
    EXPECT_EQ(left() != State::kNone, kept);
  }
  /// This fake cannot be inspected again, as a guest that has been let run is.
  void expect_let_run() {
    const auto found = recover();
    EXPECT_TRUE(monitor_->asked("cont"));
    EXPECT_THAT(notes_, HasSubstr("has been let run on here"));
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().kind, ErrorKind::kUnsupported) << found.error().message;
  }

  StoppedThread vcpu_;
  std::string folder_;
  FakeMonitor* monitor_ = nullptr;
  qemu::QemuVm vm_;
  std::string notes_;
};

TEST_F(Recover, NothingIsLeftWhereNobodyDied) {
  for (const char* status : {"running", "paused", "postmigrate", "inmigrate"}) {
    meet(status);
    expect_left_alone(LeftBehind::kNothing);
    EXPECT_EQ(notes_, "");
  }
}

TEST_F(Recover, AnIgnoreSharedThatNobodyExplainsIsTurnedOff) {
  meet("running");
  monitor_->qmp.set_text("query-migrate-capabilities", R"([{"capability": "x-ignore-shared", "state": true}])");
  expect_left_alone(LeftBehind::kNothing);
  EXPECT_TRUE(monitor_->asked("migrate-set-capabilities"));
  EXPECT_THAT(notes_, HasSubstr("x-ignore-shared was on"));
}

TEST_F(Recover, AnEngineThatLivesIsRespected) {
  meet("paused");
  auto journal = Journal::open(folder_, this_process()).value();
  ASSERT_TRUE(journal.handing_over());
  const auto found = recover();
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().kind, ErrorKind::kRefused);
  EXPECT_FALSE(monitor_->asked("cont"));
}

/// It had not touched the guest: whoever stopped it since had a reason.
TEST_F(Recover, AGuestThatWasOnlyCopiedIsLeftAsItIs) {
  for (const char* status : {"running", "paused", "postmigrate", "shutdown"}) {
    SCOPED_TRACE(status);
    leave([](Journal& journal) { EXPECT_TRUE(journal.begin()); });
    meet(status);
    expect_left_alone(LeftBehind::kHarmless);
    EXPECT_THAT(notes_, HasSubstr(std::string_view(status) == "postmigrate" ? "'postmigrate'" : "nothing was lost"));
  }
}

TEST_F(Recover, AStopThatWasNotSeenIsNobodysToUndo) {
  for (const bool handover : {false, true}) {
    for (const char* status : {"running", "suspended", "paused", "postmigrate", "shutdown"}) {
      SCOPED_TRACE(status);
      leave([&](Journal& journal) { EXPECT_TRUE(handover ? journal.handing_over() : journal.pausing()); });
      meet(status);
      const bool runs = status == std::string_view("running") || status == std::string_view("suspended");
      expect_left_alone(runs ? LeftBehind::kHarmless : LeftBehind::kUnclear);
      leave([](Journal& journal) { journal.clear(); });
    }
  }
}

TEST_F(Recover, AGuestThatStandsAfterAHandOverAsItWasLeftIsLetRun) {
  leave([](Journal& journal) {
    EXPECT_TRUE(journal.handing_over());
    EXPECT_TRUE(journal.guest_stands(qemu::mark_of(numbers())));
  });
  ASSERT_EQ(left(), State::kStopped);
  meet("postmigrate");
  expect_let_run();
  // The next one finds it running.
  meet("running");
  expect_left_alone(LeftBehind::kHarmless);
}

TEST_F(Recover, AGuestThatOthersHaveStoppedOrMovedSinceIsNot) {
  const std::string mark = qemu::mark_of(numbers());
  const auto leave_stopped = [&] {
    leave([&](Journal& journal) {
      EXPECT_TRUE(journal.handing_over());
      EXPECT_TRUE(journal.guest_stands(mark));
    });
  };
  for (const char* status : {"paused", "shutdown", "prelaunch", "internal-error"}) {
    SCOPED_TRACE(status);
    leave_stopped();
    meet(status);
    expect_left_alone(LeftBehind::kUnclear);
    EXPECT_THAT(notes_, HasSubstr("is left alone, because"));
  }
  leave_stopped();
  meet("postmigrate");
  monitor_->qmp.set("query-migrate", numbers(101));
  expect_left_alone(LeftBehind::kUnclear);
  EXPECT_THAT(notes_, HasSubstr("migrated it again"));
  meet("running");
  expect_left_alone(LeftBehind::kHarmless);
}

TEST_F(Recover, AGuestPausedForAHarvestIsLetRunIfItHasNotRunSince) {
  meet("paused");
  const std::string mark = qemu::mark_of_pause(*vm_.process, {vcpu_.id()});
  if (mark.empty()) GTEST_SKIP() << "this kernel does not tell how long a thread has run";
  const auto leave_paused = [&](const std::string& with) {
    leave([&](Journal& journal) {
      EXPECT_TRUE(journal.pausing());
      EXPECT_TRUE(journal.guest_stands(with));
    });
    ASSERT_EQ(left(), State::kPaused);
  };
  leave_paused(R"({"vcpus_ran_ns": 1})");
  meet("paused");
  std::uint64_t ran = 0;
  std::ifstream("/proc/self/task/" + std::to_string(vcpu_.id()) + "/schedstat") >> ran;
  // Not by accident below what a vCPU that is stopped may use.
  if (ran > 500'001) expect_left_alone(LeftBehind::kUnclear);
  leave_paused(mark);
  meet("postmigrate");
  expect_left_alone(LeftBehind::kUnclear);
  leave_paused(mark);
  meet("paused");
  expect_let_run();
}

/// Whether it is paused or runs: nobody touches it.
TEST_F(Recover, ACommittedGuestIsNeverTouched) {
  leave([](Journal& journal) {
    EXPECT_TRUE(journal.handing_over());
    EXPECT_TRUE(journal.guest_stands(qemu::mark_of(numbers())));
    EXPECT_TRUE(journal.commit());
  });
  for (const char* status : {"postmigrate", "paused", "shutdown", "running"}) {
    SCOPED_TRACE(status);
    meet(status);
    expect_left_alone(LeftBehind::kCommitted);
    EXPECT_THAT(notes_,
                HasSubstr(status == std::string_view("running") ? "end one of them at once" : "never runs here"));
  }
}

TEST_F(Recover, ACommitThatWasTakenBackIsNone) {
  leave([](Journal& journal) {
    EXPECT_TRUE(journal.handing_over());
    EXPECT_TRUE(journal.guest_stands(qemu::mark_of(numbers())));
    EXPECT_TRUE(journal.commit());
    EXPECT_TRUE(journal.take_back());
  });
  meet("postmigrate");
  expect_let_run();
}

TEST_F(Recover, ADestinationIsNeverLetRun) {
  struct Case {
    bool given;  ///< a commit had been read
    const char* status;
    LeftBehind expected;
    const char* says;
  };
  for (const Case& each : {Case{false, "inmigrate", LeftBehind::kHarmless, "None was started here"},
                           Case{false, "running", LeftBehind::kHarmless, "It runs here"},
                           Case{false, "paused", LeftBehind::kUnclear, "before the move was committed"},
                           Case{false, "prelaunch", LeftBehind::kUnclear, "before the move was committed"},
                           Case{false, "postmigrate", LeftBehind::kHarmless, "left alone"},
                           Case{true, "inmigrate", LeftBehind::kHarmless, "None was started here"},
                           Case{true, "running", LeftBehind::kHarmless, "It runs here"},
                           Case{true, "paused", LeftBehind::kUnclear, "it is here alone"},
                           Case{true, "shutdown", LeftBehind::kHarmless, "left alone"}}) {
    SCOPED_TRACE(std::string(each.status) + (each.given ? ", given" : ", not given"));
    leave([&](Journal& journal) { EXPECT_TRUE(each.given ? journal.starting() : journal.receiving()); });
    meet(each.status);
    expect_left_alone(each.expected);
    EXPECT_THAT(notes_, HasSubstr(each.says));
    EXPECT_EQ(monitor_->asked("announce-self"), each.given && each.status == std::string_view("running"));
  }
}

TEST_F(Recover, SettingsArePutBackWhateverBecameOfTheGuest) {
  for (const bool committed : {false, true}) {
    leave([&](Journal& journal) {
      EXPECT_TRUE(committed ? journal.commit() : journal.begin());
      EXPECT_TRUE(journal.keep_settings(R"({"capabilities": {}, "parameters": {"downtime-limit": 300}})"));
    });
    meet(committed ? "postmigrate" : "running");
    expect_left_alone(committed ? LeftBehind::kCommitted : LeftBehind::kHarmless);
    EXPECT_TRUE(monitor_->asked("migrate-set-parameters downtime-limit=300"));
    EXPECT_THAT(notes_, HasSubstr("have been put back"));
  }
}

TEST_F(Recover, SettingsThatCannotBePutBackAreKeptForTheNext) {
  leave([](Journal& journal) {
    EXPECT_TRUE(journal.begin());
    EXPECT_TRUE(journal.keep_settings(R"({"capabilities": {}, "parameters": {"downtime-limit": 300}})"));
  });
  meet("running");
  monitor_->qmp.set("migrate-set-parameters", {{"error", "no"}});
  const auto found = recover();
  ASSERT_FALSE(found);
  EXPECT_THAT(found.error().message, HasSubstr("put QEMU's migration settings back"));
  EXPECT_EQ(left(), State::kMigrating);
  meet("running");
  expect_left_alone(LeftBehind::kHarmless);
  EXPECT_TRUE(monitor_->asked("migrate-set-parameters downtime-limit=300"));
}

/// Whoever ended one of the two QEMUs would lose the guest.
TEST_F(Recover, AVmWhoseMemoryFollowsItIsLeftAloneAndBothQemusAreNeeded) {
  leave([](Journal& journal) {
    EXPECT_TRUE(journal.begin());
    EXPECT_TRUE(journal.commit_early());
  });
  meet("paused");
  expect_left_alone(LeftBehind::kCommitted);
  EXPECT_THAT(notes_, HasSubstr("Do not end this QEMU"));
}

TEST_F(Recover, AVmThatLacksMemoryIsLeftAloneAndTheSourceIsNeeded) {
  leave([](Journal& journal) {
    EXPECT_TRUE(journal.receiving());
    EXPECT_TRUE(journal.starting_early());
  });
  meet("running");
  expect_left_alone(LeftBehind::kUnclear);
  EXPECT_THAT(notes_, HasSubstr("Do not end the QEMU at the source"));
}

/// An engine died while it slowed a guest down, whatever guest: what it put on record is undone before anything is
/// asked.
TEST_F(Recover, UndoesWhatADeadEngineLeftThrottled) {
  const UndoRecord record{.boot = boot_id(), .qemu = {::getpid(), 1}, .engine = {1, ~std::uint64_t{0}}};
  const std::string file = undo_file_of(folder_, record.qemu);
  ASSERT_TRUE(write_undo_file(file, record));
  meet("running");
  const auto found = recover();
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(*found, LeftBehind::kNothing);
  EXPECT_FALSE(std::filesystem::exists(file));
}

}  // namespace
}  // namespace godwit
