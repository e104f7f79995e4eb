// Where a disk writes past the page tables and its requests cannot be read, the guest is paused while pages are armed:
// for the first time and at every harvest. A request in flight at an arming would be reported by nobody.
#include <algorithm>
#include <utility>
#include <vector>

#include "tests/support/fake_migration.h"
#include "tests/support/fake_missing_pages.h"

namespace godwit::quiesced_test {
namespace {

using namespace std::chrono_literals;

/// What the engine asked for, with whether the guest ran and the journal's record at that moment.
struct Call {
  std::string what;
  bool runs = false;
  std::string record;
};

class Quiesced : public testing::FakeMigration {
 protected:
  void SetUp() override {
    FakeMigration::SetUp();
    quiesce_ = true;
    source_.on_call = [this](std::string_view what) {
      if (what == "check_unchanged" || what == "open_handover" || what == "order_handover")
        return;  // these stop nobody
      calls_.push_back({std::string(what), source_.runs(), journal_record()});
    };
  }
  /// Every `what` but harvest_last comes right between a pause and a resume.
  void expect_guest_stood_at(const std::string& what) {
    unsigned found = 0;
    for (std::size_t i = 0; i < calls_.size(); ++i) {
      if (calls_[i].what != what) continue;
      ++found;
      EXPECT_FALSE(calls_[i].runs) << what << " " << found << ": the guest runs";
      EXPECT_EQ(calls_[i].record, "pausing") << "an engine that dies here leaves a guest that nobody lets run";
      ASSERT_TRUE(i > 0 && i + 1 < calls_.size());
      EXPECT_EQ(calls_[i - 1].what, "pause");
      EXPECT_EQ(calls_[i + 1].what, "resume");
    }
    EXPECT_GT(found, 0U) << "no " << what;
  }

  std::vector<Call> calls_;
};

TEST_F(Quiesced, TheGuestStandsWhilePagesAreArmed) {
  goals_.max_downtime = 1ns;  // it copies until the timeout, with a harvest now and then
  goals_.timeout = 1s;
  auto sink = std::async(std::launch::async, [&] { return receive(); });
  const auto report = send(steady_);
  expect_source_runs_alone(report);
  EXPECT_EQ(report.error->kind, ErrorKind::kTimedOut) << report.error->message;
  sink.get();
  ASSERT_GE(calls_.size(), 3U);
  EXPECT_EQ(calls_[1].what, "start") << "armed before the guest was stopped for the first time";
  expect_guest_stood_at("start");
  expect_guest_stood_at("harvest");
}

TEST_F(Quiesced, TheGuestIsLetRunWhereArmingFails) {
  source_.fail_start = true;
  auto sink = std::async(std::launch::async, [&] { return receive(); });
  const auto report = send(steady_);
  expect_source_runs_alone(report);
  EXPECT_NE(report.error->message.find("cannot track"), std::string::npos) << report.error->message;
  listener_->abort();  // the sink would wait for another source
  sink.get();
  expect_guest_stood_at("start");
}

/// The stop waits for no harvest that asks the hypervisor: it may not answer before the guest is paused.
TEST_F(Quiesced, NoHarvestThatAsksIsMadeOnceTheHypervisorIsToStopTheGuest) {
  quiesce_ = false;
  source_.stops_late = true;
  std::vector<std::string> asked;
  source_.on_call = [&](std::string_view what) { asked.emplace_back(what); };
  auto sink = std::async(std::launch::async, [&] { return receive(); });
  const auto report = send(steady_);
  EXPECT_EQ(report.outcome, Outcome::kDone) << (report.error ? report.error->message : "");
  EXPECT_EQ(sink.get().outcome, Outcome::kDone);
  const auto begun = std::ranges::find(asked, "order_handover");
  EXPECT_EQ(std::count(begun, asked.end(), "harvest"), 0);
  EXPECT_GT(std::count(begun, asked.end(), "harvest_near_stop"), 0);
  source_.with_memory([&](auto& memory) { EXPECT_TRUE(memory.bytes() == sink_.plain().bytes()); });
}

/// Right before the stop a post-copy's sink is told of what the guest has written since, but not where that takes a
/// harvest that stops it.
class QuiescedPostcopy : public testing::FakeMigration, public ::testing::WithParamInterface<bool> {};

TEST_P(QuiescedPostcopy, HasNoHarvestThatStopsTheGuestOnceItsHandoverIsPrepared) {
  quiesce_ = GetParam();
  source_.preparation_takes = 1ms;
  testing::MissingPagesSeen seen;
  goals_.on_deadline = OnDeadline::kPostcopy;
  goals_.deadline = 0s;
  sink_.on_missing_pages = [&]() -> Result<std::unique_ptr<MissingPages>> {
    return std::make_unique<testing::FakeMissingPages>(sink_.plain(), seen, 7);
  };
  std::vector<std::string> asked;
  source_.on_call = [&](std::string_view what) { asked.emplace_back(what); };
  auto sink = std::async(std::launch::async, [&] { return receive(); });
  const auto report = send(steady_);
  ASSERT_EQ(sink.get().outcome, Outcome::kDone);
  ASSERT_EQ(report.outcome, Outcome::kDone);
  ASSERT_TRUE(report.postcopy);
  const auto prepared = std::ranges::find(asked, "prepare_handover");
  const auto last = std::ranges::find(asked, "harvest_last");
  ASSERT_LT(prepared, last);
  EXPECT_EQ(std::count(prepared, last, "pause"), 0);
  EXPECT_EQ(std::count(prepared, last, "harvest"), 0);
  EXPECT_EQ(std::count(prepared, last, "harvest_near_stop"), GetParam() ? 0 : 1);
}

INSTANTIATE_TEST_SUITE_P(Of, QuiescedPostcopy, ::testing::Bool(),
                         [](const auto& param) { return param.param ? "Quiesced" : "Running"; });

TEST_F(Quiesced, ArrivesWhole) {
  auto sink = std::async(std::launch::async, [&] { return receive(); });
  const auto report = send(steady_);
  EXPECT_EQ(report.outcome, Outcome::kDone) << (report.error ? report.error->message : "");
  EXPECT_EQ(sink.get().outcome, Outcome::kDone);
  expect_guest_stood_at("start");
  // The guest was stopped by the hand-over: nobody may let it run after that.
  EXPECT_EQ(calls_.back().what, "harvest_last");
  source_.with_memory([&](auto& memory) { EXPECT_TRUE(memory.bytes() == sink_.plain().bytes()); });
}

}  // namespace
}  // namespace godwit::quiesced_test
