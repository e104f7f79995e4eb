// A VM that is changed while it moves: the engine asks, and what the hypervisor answers ends the move, with the guest
// at the source, before anything is asked of the hypervisor, while the guest is paused, and up to the commit.
#include <algorithm>
#include <string>
#include <vector>

#include "tests/support/fake_migration.h"

namespace godwit::changed_vm_test {
namespace {

const Error kChanged{ErrorKind::kRefused, "this VM has been changed since the move began: a disk"};

class ChangedVm : public testing::FakeMigration {
 protected:
  void expect_named(const Report& report) {
    expect_source_runs_alone(report);
    ASSERT_TRUE(report.error);
    EXPECT_EQ(report.error->kind, ErrorKind::kRefused);
    EXPECT_NE(report.error->message.find("changed since the move began: a disk"), std::string::npos)
        << report.error->message;
  }
  Report run(const OnMilestone& on_milestone = [](Milestone) {}) {
    auto sink = std::async(std::launch::async, [&] { return receive(); });
    const auto report = send(steady_, on_milestone);
    sink_report_ = sink.get();
    return report;
  }
  SinkReport sink_report_;
};

TEST_F(ChangedVm, IsNotHandedOver) {
  std::vector<std::string> calls;
  source_.on_call = [&](std::string_view what) { calls.emplace_back(what); };
  source_.changed = kChanged;
  expect_named(run());
  EXPECT_EQ(std::count(calls.begin(), calls.end(), "check_unchanged"), 1);
  EXPECT_EQ(std::count(calls.begin(), calls.end(), "order_handover"), 0);
}

TEST_F(ChangedVm, IsNotCommittedIfItChangedWhileItStood) {
  expect_named(run([&](Milestone milestone) {
    if (milestone == Milestone::kDevicesSent) source_.changed = kChanged;
  }));
  EXPECT_EQ(source_.rolled_back, 1U);
}

TEST_F(ChangedVm, IsNotCommittedIfTheHypervisorTellsOfAChangeInTheLastMoment) {
  expect_named(run([&](Milestone milestone) {
    if (milestone == Milestone::kPrepared) source_.told->handover_failed(kChanged);
  }));
}

/// Its event has come, and whoever tells the engine of it is busy with something else.
TEST_F(ChangedVm, IsNotCommittedIfAnEventIsKnownThatNobodyHasToldOf) {
  expect_named(run([&](Milestone milestone) {
    if (milestone == Milestone::kPrepared) source_.told_changed = kChanged;
  }));
  EXPECT_EQ(source_.rolled_back, 1U);
}

TEST_F(ChangedVm, IsLookedAtAgainIfTheDestinationTakesLongToLoadIt) {
  sink_.load_takes = std::chrono::milliseconds(100);
  unsigned looks = 0;
  source_.on_call = [&](std::string_view what) {
    if (what == "check_unchanged" && ++looks == 3) source_.changed = kChanged;
  };
  expect_named(run());
  EXPECT_EQ(looks, 3U);
}

TEST_F(ChangedVm, IsAsItMayBeAfterTheCommit) {
  const auto report = run([&](Milestone milestone) {
    if (milestone == Milestone::kCommitted) source_.told->handover_failed(kChanged);
  });
  EXPECT_EQ(report.outcome, Outcome::kDone) << (report.error ? report.error->message : "");
  EXPECT_EQ(sink_report_.outcome, Outcome::kDone);
}

TEST_F(ChangedVm, IsAskedForBeforeAndAfterTheStop) {
  std::vector<std::string> calls;
  source_.on_call = [&](std::string_view what) {
    if (what == "check_unchanged" || what == "order_handover") calls.emplace_back(what);
  };
  const auto report = run();
  EXPECT_EQ(report.outcome, Outcome::kDone) << (report.error ? report.error->message : "");
  const std::vector<std::string> wanted = {"check_unchanged", "order_handover", "check_unchanged"};
  if (calls.size() == wanted.size() + 1) calls.pop_back();  // the destination was slow to load it
  EXPECT_EQ(calls, wanted);
}

/// The hypervisor at the destination has been put to use by somebody else while it waited.
class UsedSink : public ChangedVm {
 protected:
  UsedSink() {
    const auto& layout = sink_.plain().layout();
    for (std::uint32_t c = 0; c < layout.chunk_count(); ++c) {
      for_each_page(layout.valid_pages(ChunkIndex{c}),
                    [&](unsigned page) { std::memset(sink_.plain().at(ChunkIndex{c}, page), 0x5a, kPageSize); });
    }
  }
  void expect_untouched() {
    const auto& layout = sink_.plain().layout();
    std::size_t changed = 0;
    for (std::uint32_t c = 0; c < layout.chunk_count(); ++c) {
      for_each_page(layout.valid_pages(ChunkIndex{c}), [&](unsigned page) {
        const std::byte* at = sink_.plain().at(ChunkIndex{c}, page);
        changed += *at != std::byte{0x5a} || std::memcmp(at, at + 1, kPageSize - 1) != 0;
      });
    }
    EXPECT_EQ(changed, 0U) << "pages of somebody else's guest";
  }
};

TEST_F(UsedSink, KeepsItsMemoryIfItDoesNotWaitAnyMore) {
  sink_.on_load = [](std::string_view step) {
    return step == "open_incoming" ? Status(fail(ErrorKind::kRefused, "this QEMU does not wait for a VM")) : Status{};
  };
  const auto report = run();
  expect_source_runs_alone(report);
  EXPECT_NE(report.error.value_or(Error{}).message.find("does not wait for a VM"), std::string::npos);
  EXPECT_EQ(sink_report_.error.value_or(Error{}).kind, ErrorKind::kRefused);
  expect_untouched();
}

TEST_F(UsedSink, KeepsItsMemoryIfItTellsOfAGuestThatRunsByThen) {
  sink_.on_load = [this](std::string_view step) {
    if (step == "open_incoming") sink_.used_by_others = true;
    return Status{};
  };
  const auto report = run();
  expect_source_runs_alone(report);
  EXPECT_NE(report.error.value_or(Error{}).message.find("somebody else uses"), std::string::npos);
  // It does not wait for another source beside somebody else's guest.
  EXPECT_EQ(sink_report_.error.value_or(Error{}).kind, ErrorKind::kHypervisor);
  expect_untouched();
}

}  // namespace
}  // namespace godwit::changed_vm_test
