// Every way of slowing a process down, held to the same contract: by real control groups and real ptrace, on a busy
// process in QEMU's place.
#include "throttle/throttle.h"

#include <gtest/gtest.h>
#include <sys/ptrace.h>

#include <cmath>
#include <limits>

#include "tests/throttle/throttle_base.h"
#include "throttle/following_throttle.h"

namespace godwit::throttle_test {
namespace {

using testing::BusyProcess;
using testing::eventually;
using testing::ForkedProcess;
using testing::SharedWithChildren;

class ThrottleWays : public testing::ThrottleBase, public ::testing::WithParamInterface<ThrottleWay> {
 protected:
  std::string prepare_way(int threads) { return prepare(GetParam(), threads); }
};

INSTANTIATE_TEST_SUITE_P(All, ThrottleWays,
                         ::testing::Values(ThrottleWay::kCgroupV2, ThrottleWay::kCgroupV1, ThrottleWay::kPtrace),
                         [](const auto& way) {
                           std::string name(name_of(way.param));
                           std::erase(name, '-');
                           return name;
                         });

#define PREPARE(threads)                                           \
  if (const auto why_not = prepare_way(threads); !why_not.empty()) \
  GTEST_SKIP() << name_of(GetParam()) << ": " << why_not

TEST_P(ThrottleWays, LetAThreadRunForItsShare) {
  PREPARE(1);
  const auto throttle = make();
  ASSERT_TRUE(throttle);
  for (const double share : {0.5, 0.2, 0.05, 0.02, 0.3}) {
    ASSERT_TRUE(throttle->set(share));
    const double got = process_->share_towards(0, share);
    RecordProperty(fmt::format("share_{}", share), fmt::format("{:.3f}", got));
    EXPECT_TRUE(BusyProcess::is_within(got, share)) << got << " instead of " << share;
  }
  ASSERT_TRUE(throttle->release());
  EXPECT_TRUE(eventually([&] { return runs_free(0); }));
  double free = 0;
  for (int tries = 0; tries < 20 && free < 0.5; ++tries) free = process_->share_of(0);
  if (free < 0.5) GTEST_SKIP() << "this machine is too busy to show that it runs faster again";
}

TEST_P(ThrottleWays, PutEverythingBack) {
  PREPARE(3);
  const std::string before = picture();
  const auto throttle = make();
  ASSERT_TRUE(throttle);
  EXPECT_EQ(throttle->way(), GetParam());
  EXPECT_EQ(picture(), before) << "made, not set";
  for (int rounds = 0; rounds < 3; ++rounds) {
    for (const double share : {0.3, 0.3, 0.02, 1.0, 0.6}) {
      const Status set = throttle->set(share);
      ASSERT_TRUE(set) << set.error().message;
    }
    if (lab_) {
      EXPECT_NE(picture(), before);
    }
    const Status released = throttle->release();
    ASSERT_TRUE(released) << released.error().message;
    EXPECT_EQ(picture(), before);
    EXPECT_TRUE(throttle->release());
  }
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(process_->goes_on(i));
}

TEST_P(ThrottleWays, ReleaseWhenTheyEnd) {
  PREPARE(1);
  const std::string before = picture();
  {
    const auto throttle = make();
    ASSERT_TRUE(throttle);
    ASSERT_TRUE(throttle->set(0.01));
    ::usleep(30'000);
  }
  EXPECT_EQ(picture(), before);
  EXPECT_TRUE(eventually([&] { return runs_free(0); }));
}

TEST_P(ThrottleWays, TakeSharesOnly) {
  PREPARE(1);
  const std::string before = picture();
  const auto throttle = make();
  ASSERT_TRUE(throttle);
  for (const double share : {0.0, -1.0, 1.01, std::nan(""), std::numeric_limits<double>::infinity()}) {
    const Status set = throttle->set(share);
    ASSERT_FALSE(set) << share;
    EXPECT_EQ(set.error().kind, ErrorKind::kInvalidArgument);
  }
  EXPECT_EQ(picture(), before);
  EXPECT_TRUE(throttle->set(1));
  EXPECT_EQ(picture(), before);
  EXPECT_TRUE(throttle->set(1e-9)) << "counts as the smallest share";
}

/// The process's main thread, as QEMU's, which has the monitor.
TEST_P(ThrottleWays, LeaveOtherThreadsAlone) {
  PREPARE(2);
  const pid_t first[] = {process_->thread(0)};
  const std::string groups = process_->groups_of(1);
  auto throttle = Throttle::make(process_->pid(), first, settings());
  ASSERT_TRUE(throttle) << throttle.error().message;
  ASSERT_TRUE((*throttle)->set(0.05));
  EXPECT_EQ(process_->groups_of(1), groups);
  for (int looks = 0; looks < 300; ++looks) {
    ASSERT_NE(process_->state_of(1), 't') << "it is stopped too";
    ::usleep(1000);
  }
  EXPECT_TRUE(process_->goes_on(1));
  EXPECT_TRUE(process_->add_thread()) << "the main thread does not answer";
}

/// One that sleeps has no use for its share; another one must not get it.
TEST_P(ThrottleWays, LimitEachThreadByItself) {
  PREPARE(2);
  const auto throttle = make();
  ASSERT_TRUE(throttle);
  ASSERT_TRUE(process_->end_thread(1));
  ASSERT_TRUE(throttle->set(0.3));
  EXPECT_PRED2(BusyProcess::is_within, process_->share_towards(0, 0.3), 0.3);
}

/// QEMU kicks its vCPUs by a signal; one that gets lost would hang the guest.
TEST_P(ThrottleWays, LetEverySignalThrough) {
  PREPARE(2);
  const auto throttle = make();
  ASSERT_TRUE(throttle);
  ASSERT_TRUE(throttle->set(0.3));
  for (int i = 0; i < 150; ++i) ASSERT_TRUE(process_->signal_arrives(i % 2)) << i;
}

TEST_P(ThrottleWays, LetAProcessBeStoppedAndGoOn) {
  PREPARE(2);
  const auto throttle = make();
  ASSERT_TRUE(throttle);
  ASSERT_TRUE(throttle->set(0.5));
  for (int rounds = 0; rounds < 5; ++rounds) {
    ::kill(process_->pid(), SIGSTOP);
    ASSERT_TRUE(eventually([&] { return process_->state_of(0) == 'T' && process_->state_of(1) == 'T'; }));
    // Settled: what was on its way to a stop of ours has come and gone.
    ::usleep(50'000);
    const auto work = process_->work(0) + process_->work(1);
    ::usleep(100'000);
    EXPECT_EQ(process_->work(0) + process_->work(1), work) << "it runs although it is stopped";
    if (rounds == 3) {
      ASSERT_TRUE(throttle->release());
    }
    ::kill(process_->pid(), SIGCONT);
    ASSERT_TRUE(process_->goes_on(0));
    ASSERT_TRUE(process_->goes_on(1));
  }
}

TEST_P(ThrottleWays, BearTheEndOfAThread) {
  PREPARE(2);
  const auto throttle = make();
  ASSERT_TRUE(throttle);
  ASSERT_TRUE(throttle->set(0.2));
  ASSERT_TRUE(process_->end_thread(1));
  for (const double share : {0.1, 0.4, 1.0, 0.2}) {
    const Status set = throttle->set(share);
    EXPECT_TRUE(set) << set.error().message;
  }
  const pid_t left[] = {process_->thread(0)};
  EXPECT_TRUE(throttle->follow(left));
  const Status released = throttle->release();
  EXPECT_TRUE(released) << released.error().message;
  if (lab_) {
    EXPECT_TRUE(groups_below(lab_->home()).empty()) << picture();
  }
  EXPECT_TRUE(process_->goes_on(0));
}

TEST_P(ThrottleWays, BearTheEndOfTheProcess) {
  PREPARE(2);
  const auto throttle = make();
  ASSERT_TRUE(throttle);
  ASSERT_TRUE(throttle->set(0.02));
  ::usleep(30'000);
  // Waits for it: nobody who traces a thread keeps it from going.
  EXPECT_EQ(process_->end(), SIGKILL);
  const Status set = throttle->set(0.5);
  ASSERT_FALSE(set);
  EXPECT_EQ(set.error().kind, ErrorKind::kNotFound);
  const Status released = throttle->release();
  EXPECT_TRUE(released) << released.error().message;
  if (lab_) {
    EXPECT_TRUE(groups_below(lab_->home()).empty()) << lab_->picture();
  }
  EXPECT_TRUE(names_in(state_folder()).empty());
}

/// A vCPU is plugged in.
TEST_P(ThrottleWays, FollowNewThreads) {
  PREPARE(1);
  const auto throttle = make();
  ASSERT_TRUE(throttle);
  ASSERT_TRUE(throttle->set(0.05));
  ASSERT_TRUE(process_->add_thread());
  const Status followed = throttle->follow(process_->threads());
  ASSERT_TRUE(followed) << followed.error().message;
  EXPECT_PRED2(BusyProcess::is_within, process_->share_towards(1, 0.05), 0.05);
  ASSERT_TRUE(throttle->set(0.3));
  EXPECT_PRED2(BusyProcess::is_within, process_->share_towards(1, 0.3), 0.3);
  ASSERT_TRUE(throttle->release());
  if (lab_) {
    EXPECT_TRUE(groups_below(lab_->home()).empty());
  }
  EXPECT_TRUE(process_->goes_on(1));
}

/// Nobody says so: it is found out the next time that the share is set, to whichever value.
TEST_P(ThrottleWays, FindThreadsThatWereAdded) {
  PREPARE(1);
  unsigned asked = 0;
  const auto vcpus = [&] {
    ++asked;
    return process_->threads();
  };
  FollowingThrottle throttle(process_->pid(), vcpus, settings());
  ASSERT_TRUE(throttle.set(1));
  EXPECT_EQ(asked, 0U) << "where nobody is slowed down nothing is looked for";
  ASSERT_TRUE(throttle.set(0.05));
  ASSERT_TRUE(process_->add_thread());
  EXPECT_EQ(asked, 1U);
  const Status found = throttle.set(0.05);
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(asked, 2U);
  EXPECT_PRED2(BusyProcess::is_within, process_->share_towards(1, 0.05), 0.05);
  ASSERT_TRUE(throttle.set(0.05));
  EXPECT_EQ(asked, 2U) << "no thread has come or gone";
  ASSERT_TRUE(throttle.set(1));
  if (lab_) {
    EXPECT_TRUE(groups_below(lab_->home()).empty());
  }
  EXPECT_TRUE(process_->goes_on(1));
}

TEST_P(ThrottleWays, SlowThoseDownThatWriteMost) {
  PREPARE(2);
  FollowingThrottle throttle(
      process_->pid(), [&] { return process_->threads(); }, settings());
  process_->let_write(1);
  const auto before = process_->work(1);
  ASSERT_TRUE(eventually([&] { return process_->work(1) > before + 200'000; }));
  const Status set = throttle.set(0.05);
  ASSERT_TRUE(set) << set.error().message;
  EXPECT_PRED2(BusyProcess::is_within, process_->share_towards(1, 0.05), 0.05);
  EXPECT_TRUE(runs_free(0));
  // The other one turns out to write, too, and all must go on more slowly.
  process_->let_write(0);
  const auto then = process_->work(0);
  ASSERT_TRUE(eventually([&] { return process_->work(0) > then + 200'000; }));
  ASSERT_TRUE(throttle.set(0.04));
  EXPECT_PRED2(BusyProcess::is_within, process_->share_towards(0, 0.04), 0.04);
  EXPECT_PRED2(BusyProcess::is_within, process_->share_towards(1, 0.04), 0.04);
  ASSERT_TRUE(throttle.set(1));
  EXPECT_TRUE(eventually([&] { return runs_free(0) && runs_free(1); }));
}

TEST_P(ThrottleWays, ReleaseThreadsThatWereAddedWhenTheEngineIsKilled) {
  PREPARE(1);
  SharedWithChildren<std::atomic<int>> step;
  ForkedProcess engine([&] {
    auto keeper = ThrottleKeeper::start();
    if (!keeper) ::_exit(97);
    FollowingThrottle throttle(
        process_->pid(), [&] { return process_->threads(); }, settings(keeper->get()));
    const auto set = [&] {
      if (!throttle.set(0.02)) *step = -1;
    };
    set();
    *step = *step + 1;
    while (*step == 1) ::usleep(1000);
    set();
    *step = *step + 1;
    while (true) ::pause();
  });
  ASSERT_TRUE(eventually([&] { return *step == 1; }));
  ASSERT_TRUE(process_->add_thread());
  *step = 2;
  ASSERT_TRUE(eventually([&] { return *step == 3; }));
  EXPECT_PRED2(BusyProcess::is_within, process_->share_towards(1, 0.02), 0.02);
  engine.end();
  EXPECT_TRUE(eventually([&] { return runs_free(0) && runs_free(1); }));
  if (lab_) {
    EXPECT_TRUE(eventually([&] { return groups_below(lab_->home()).empty(); })) << lab_->picture();
  }
  EXPECT_TRUE(eventually([&] { return names_in(state_folder()).empty(); }));
  expect_never_stopped();
}

/// It is killed while the guest is at its slowest.
TEST_P(ThrottleWays, AreReleasedWhenTheEngineIsKilled) {
  PREPARE(2);
  const std::string before = picture();
  SharedWithChildren<std::atomic<int>> throttled;
  SharedWithChildren<std::atomic<pid_t>> keepers_pid;
  ForkedProcess engine([&] {
    auto keeper = ThrottleKeeper::start();
    if (!keeper) ::_exit(97);
    *keepers_pid = (*keeper)->pid();
    auto throttle = Throttle::make(process_->pid(), process_->threads(), settings(keeper->get()));
    if (!throttle || !(*throttle)->set(0.02)) {
      *throttled = -1;
      ::_exit(96);
    }
    *throttled = 1;
    while (true) ::pause();
  });
  ASSERT_TRUE(eventually([&] { return *throttled != 0; }));
  ASSERT_EQ(*throttled, 1);
  if (lab_) {
    EXPECT_NE(picture(), before);
  }
  EXPECT_PRED2(BusyProcess::is_within, process_->share_towards(0, 0.02), 0.02);
  engine.end();
  EXPECT_TRUE(eventually([&] { return picture() == before; })) << picture() << "instead of\n" << before;
  EXPECT_TRUE(eventually([&] { return runs_free(0) && runs_free(1); }));
  expect_never_stopped();
}

/// The keeper of an engine that ends in order has nothing to do.
TEST_P(ThrottleWays, KeepNoKeeper) {
  PREPARE(1);
  const std::string before = picture();
  auto keeper = ThrottleKeeper::start();
  ASSERT_TRUE(keeper) << keeper.error().message;
  const pid_t pid = (*keeper)->pid();
  auto throttle = Throttle::make(process_->pid(), process_->threads(), settings(keeper->get()));
  ASSERT_TRUE(throttle) << throttle.error().message;
  ASSERT_TRUE((*throttle)->set(0.2));
  throttle->reset();
  EXPECT_EQ(picture(), before);
  keeper->reset();
  EXPECT_NE(::kill(pid, 0), 0);
}

TEST(ThrottleProbe, SaysWhyNot) {
  testing::BusyProcess process(1);
  const auto none = Throttle::probe(process.pid(), {});
  ASSERT_EQ(none.size(), 3U);
  for (const auto& finding : none) EXPECT_FALSE(finding.why_not.empty()) << name_of(finding.way);
  const pid_t not_its[] = {::getpid()};
  for (const auto& finding : Throttle::probe(process.pid(), not_its)) {
    EXPECT_FALSE(finding.why_not.empty()) << name_of(finding.way);
  }
  const auto made = Throttle::make(process.pid(), not_its, {.state_folder = "/nowhere"});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().kind, ErrorKind::kUnsupported);
  for (const char* way : {"cgroup-v2", "cgroup-v1", "ptrace"}) {
    EXPECT_NE(made.error().message.find(way), std::string::npos) << made.error().message;
  }
}

TEST(ThrottleProbe, PutsWhatIsPossibleFirst) {
  testing::BusyProcess process(1);
  bool possible = true;
  for (const auto& finding : Throttle::probe(process.pid(), process.threads())) {
    EXPECT_FALSE(!possible && finding.why_not.empty()) << name_of(finding.way);
    possible = finding.why_not.empty();
  }
}

TEST(ThrottleProbe, KnowsThatQuotasDoNotLimitRealTimeThreads) {
  testing::BusyProcess process(1);
  const sched_param param{.sched_priority = 1};
  if (::sched_setscheduler(process.thread(0), SCHED_RR, &param) != 0) GTEST_SKIP() << "no right to real-time threads";
  const auto findings = Throttle::probe(process.pid(), process.threads());
  const sched_param normal{};
  ASSERT_EQ(::sched_setscheduler(process.thread(0), SCHED_OTHER, &normal), 0);
  for (const auto& finding : findings) {
    EXPECT_EQ(finding.why_not.empty(), finding.way == ThrottleWay::kPtrace) << finding.why_not;
  }
}

TEST(ThrottleProbe, KnowsThatAThreadIsTracedOnce) {
  testing::BusyProcess process(1);
  SharedWithChildren<std::atomic<int>> traced;
  ForkedProcess debugger([&] {
    *traced = ::ptrace(PTRACE_SEIZE, process.thread(0), nullptr, nullptr) == 0 ? 1 : -1;
    while (true) ::pause();
  });
  ASSERT_TRUE(eventually([&] { return *traced != 0; }));
  if (*traced < 0) GTEST_SKIP() << "no right to trace";
  for (const auto& finding : Throttle::probe(process.pid(), process.threads())) {
    if (finding.way != ThrottleWay::kPtrace) continue;
    EXPECT_NE(finding.why_not.find(std::to_string(debugger.pid())), std::string::npos) << finding.why_not;
  }
}

/// Somebody attaches a debugger meanwhile: the guest is left to it, and the caller is told.
TEST(ThrottleByPtrace, GivesWayToADebugger) {
  testing::BusyProcess process(1);
  auto throttle = Throttle::make(process.pid(), process.threads(), {.only = ThrottleWay::kPtrace});
  if (!throttle) GTEST_SKIP() << throttle.error().message;
  ASSERT_TRUE((*throttle)->set(0.5));
  SharedWithChildren<std::atomic<int>> traced;
  {
    ForkedProcess debugger([&] {
      while (::ptrace(PTRACE_SEIZE, process.thread(0), nullptr, nullptr) != 0) ::usleep(500);
      *traced = 1;
      while (true) ::pause();
    });
    ASSERT_TRUE(eventually([&] { return *traced != 0; })) << "it never finds the thread free";
    EXPECT_TRUE(eventually([&] { return !(*throttle)->set(0.5); }));
    EXPECT_TRUE(process.goes_on(0));
  }
  EXPECT_TRUE(eventually([&] { return (*throttle)->set(0.5).has_value(); }));
}

}  // namespace
}  // namespace godwit::throttle_test
