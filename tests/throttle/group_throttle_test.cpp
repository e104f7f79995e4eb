// Throttles by control groups: what is there already is respected, and what a dead engine left is undone.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/throttle/throttle_base.h"
#include "throttle/undo_record.h"

namespace godwit::group_throttle_test {
namespace {

using testing::eventually;
using testing::ForkedProcess;
using testing::SharedWithChildren;

class GroupThrottles : public testing::ThrottleBase, public ::testing::WithParamInterface<ThrottleWay> {
 protected:
  std::string prepare_way(int threads) { return prepare(GetParam(), threads); }

  /// An engine that is killed after it has throttled, and its keeper before it.
  bool let_an_engine_die() {
    SharedWithChildren<std::atomic<int>> throttled;
    ForkedProcess engine([&] {
      auto keeper = ThrottleKeeper::start();
      auto throttle = Throttle::make(process_->pid(), process_->threads(), settings(keeper ? keeper->get() : nullptr));
      if (!keeper || !throttle || !(*throttle)->set(0.05)) ::_exit(96);
      ::kill((*keeper)->pid(), SIGKILL);
      *throttled = 1;
      while (true) ::pause();
    });
    return eventually([&] { return *throttled == 1; });
  }
};

INSTANTIATE_TEST_SUITE_P(All, GroupThrottles, ::testing::Values(ThrottleWay::kCgroupV2, ThrottleWay::kCgroupV1),
                         [](const auto& way) { return way.param == ThrottleWay::kCgroupV2 ? "v2" : "v1"; });

#define PREPARE(threads)                                           \
  if (const auto why_not = prepare_way(threads); !why_not.empty()) \
  GTEST_SKIP() << name_of(GetParam()) << ": " << why_not

/// Libvirt's vcpuN: its limit, and its saved-up time, come back as they were.
TEST_P(GroupThrottles, UseTheGroupThatAThreadHasAlready) {
  PREPARE(2);
  const auto group = lab_->make_group_for(process_->thread(0), "vcpu0");
  ASSERT_TRUE(group) << group.error().message;
  CpuQuota own{60'000, 100'000, 0};
  const bool bursts = read_small_file(*group + "/cpu.max.burst") || read_small_file(*group + "/cpu.cfs_burst_us");
  if (bursts) own.burst = 30'000;
  ASSERT_TRUE(write_quota(lab_->version(), *group, own));
  const std::string before = picture();
  const auto throttle = make();
  ASSERT_TRUE(throttle);
  const Status set = throttle->set(0.1);
  ASSERT_TRUE(set) << set.error().message;
  EXPECT_EQ(process_->groups_of(0).find("godwit"), std::string::npos) << process_->groups_of(0);
  EXPECT_NE(process_->groups_of(1).find("godwit"), std::string::npos) << process_->groups_of(1);
  const auto now = read_quota(lab_->version(), *group);
  ASSERT_TRUE(now);
  EXPECT_NEAR(now->cpus().value_or(1), 0.06, 0.002) << "a tenth of what it had";
  EXPECT_EQ(now->burst, 0);
  ASSERT_TRUE(throttle->set(1));
  EXPECT_EQ(read_quota(lab_->version(), *group).value_or(CpuQuota{}), own);
  ASSERT_TRUE(throttle->set(0.02));
  ASSERT_TRUE(throttle->release());
  EXPECT_EQ(picture(), before);
}

TEST_P(GroupThrottles, ComeBackToNoLimitInPlace) {
  PREPARE(1);
  const auto group = lab_->make_group_for(process_->thread(0), "vcpu0");
  ASSERT_TRUE(group) << group.error().message;
  const std::string before = picture();
  const auto throttle = make();
  ASSERT_TRUE(throttle);
  ASSERT_TRUE(throttle->set(0.2));
  EXPECT_PRED2(testing::BusyProcess::is_within, process_->share_towards(0, 0.2), 0.2);
  ASSERT_TRUE(throttle->release());
  EXPECT_EQ(picture(), before);
}

/// `virsh schedinfo` meanwhile: that is what holds from then on.
TEST_P(GroupThrottles, LeaveWhatOthersHaveSetMeanwhile) {
  PREPARE(1);
  const auto group = lab_->make_group_for(process_->thread(0), "vcpu0");
  ASSERT_TRUE(group) << group.error().message;
  const auto throttle = make();
  ASSERT_TRUE(throttle);
  ASSERT_TRUE(throttle->set(0.2));
  const CpuQuota theirs{70'000, 100'000, 0};
  ASSERT_TRUE(write_quota(lab_->version(), *group, theirs));
  ASSERT_TRUE(throttle->release());
  EXPECT_EQ(read_quota(lab_->version(), *group).value_or(CpuQuota{}), theirs);
}

/// Version 1 refuses a group more than the one above has.
TEST_P(GroupThrottles, StayBelowTheLimitsAbove) {
  PREPARE(1);
  ASSERT_TRUE(write_quota(lab_->version(), lab_->home(), {25'000, 50'000, 0}));
  const std::string before = picture();
  const auto throttle = make();
  ASSERT_TRUE(throttle);
  for (const double share : {0.99, 0.5, 0.1, 0.9}) {
    const Status set = throttle->set(share);
    ASSERT_TRUE(set) << share << set.error().message;
    const auto groups = groups_below(lab_->home());
    ASSERT_EQ(groups.size(), 1U);
    const auto quota = read_quota(lab_->version(), groups[0]);
    ASSERT_TRUE(quota);
    EXPECT_NEAR(quota->cpus().value_or(9), share * 0.5, 0.002);
  }
  ASSERT_TRUE(throttle->release());
  EXPECT_EQ(picture(), before);
}

/// Threads that share a group are not slowed together, nor is what else is in it.
TEST_P(GroupThrottles, DoNotLimitAGroupWithOthersInIt) {
  PREPARE(2);
  const auto group = lab_->make_group_for(process_->thread(0), "both");
  ASSERT_TRUE(group) << group.error().message;
  ASSERT_TRUE(move_thread(lab_->version(), process_->thread(1), *group));
  const std::string before = picture();
  const auto quota = read_quota(lab_->version(), *group);
  const auto throttle = make();
  ASSERT_TRUE(throttle);
  const Status set = throttle->set(0.1);
  ASSERT_TRUE(set) << set.error().message;
  EXPECT_EQ(read_quota(lab_->version(), *group).value_or(CpuQuota{1}), quota.value_or(CpuQuota{}));
  EXPECT_EQ(groups_below(*group).size(), 2U);
  ASSERT_TRUE(throttle->release());
  EXPECT_EQ(picture(), before);
}

TEST_P(GroupThrottles, OfADeadEngineAreUndoneByTheNextCommand) {
  PREPARE(2);
  const auto group = lab_->make_group_for(process_->thread(0), "vcpu0");
  ASSERT_TRUE(group) << group.error().message;
  const std::string before = picture();
  ASSERT_TRUE(let_an_engine_die());
  EXPECT_NE(picture(), before);
  const auto notes = undo_left_throttles(state_folder());
  ASSERT_EQ(notes.size(), 1U);
  EXPECT_NE(notes[0].find(std::to_string(process_->pid())), std::string::npos) << notes[0];
  EXPECT_EQ(picture(), before);
  EXPECT_TRUE(undo_left_throttles(state_folder()).empty());
}

TEST_P(GroupThrottles, OfADeadEngineAreUndoneBeforeTheNextOnes) {
  PREPARE(2);
  const auto group = lab_->make_group_for(process_->thread(0), "vcpu0");
  ASSERT_TRUE(group) << group.error().message;
  const std::string before = picture();
  ASSERT_TRUE(let_an_engine_die());
  {
    // Not even told what that one left: found in the groups, and in the state folder.
    const auto throttle = Throttle::make(process_->pid(), process_->threads(), settings());
    if (throttle) {
      const Status set = (*throttle)->set(0.5);
      EXPECT_TRUE(set) << set.error().message;
    } else {
      EXPECT_NE(throttle.error().message.find("another godwit"), std::string::npos) << throttle.error().message;
      undo_left_throttles(state_folder());
    }
  }
  EXPECT_EQ(picture(), before);
}

/// Its record was removed by hand.
TEST_P(GroupThrottles, BringThreadsHomeFromGroupsThatNobodyKnowsOf) {
  PREPARE(1);
  const std::string before = process_->groups_of(0);
  ASSERT_TRUE(let_an_engine_die());
  std::filesystem::remove_all(state_folder());
  ASSERT_NE(process_->groups_of(0), before);
  const auto throttle = make();
  ASSERT_TRUE(throttle);
  const Status set = throttle->set(0.5);
  ASSERT_TRUE(set) << set.error().message;
  ASSERT_TRUE(throttle->release());
  EXPECT_EQ(process_->groups_of(0), before);
  EXPECT_TRUE(groups_below(lab_->home()).empty());
}

TEST_P(GroupThrottles, OfALivingEngineAreLeftAlone) {
  PREPARE(1);
  const auto throttle = make();
  ASSERT_TRUE(throttle);
  ASSERT_TRUE(throttle->set(0.3));
  const std::string throttled = picture();
  EXPECT_TRUE(undo_left_throttles(state_folder()).empty());
  EXPECT_EQ(picture(), throttled);
  const auto second = Throttle::make(process_->pid(), process_->threads(), settings());
  ASSERT_TRUE(second) << second.error().message;
  const Status set = (*second)->set(0.5);
  ASSERT_FALSE(set);
  EXPECT_EQ(set.error().kind, ErrorKind::kRefused) << set.error().message;
  EXPECT_EQ(picture(), throttled);
}

/// What would not be released is not begun.
TEST_P(GroupThrottles, AreNotBegunWithoutRecordOrKeeper) {
  PREPARE(1);
  const std::string before = picture();
  auto keeper = ThrottleKeeper::start();
  ASSERT_TRUE(keeper);
  ::kill((*keeper)->pid(), SIGKILL);
  siginfo_t info{};
  ::waitid(P_PID, static_cast<id_t>((*keeper)->pid()), &info, WEXITED | WNOWAIT);
  auto throttle = Throttle::make(process_->pid(), process_->threads(), settings(keeper->get()));
  ASSERT_TRUE(throttle) << throttle.error().message;
  EXPECT_FALSE((*throttle)->set(0.5));
  EXPECT_EQ(picture(), before);
  auto nowhere = settings();
  nowhere.state_folder = "/proc/nowhere";
  throttle = Throttle::make(process_->pid(), process_->threads(), nowhere);
  ASSERT_TRUE(throttle) << throttle.error().message;
  EXPECT_FALSE((*throttle)->set(0.5));
  EXPECT_EQ(picture(), before);
}

/// Or somebody has a period like ours: its owner would take ours for its own.
TEST_P(GroupThrottles, AreNotBegunWhereAnotherHasOne) {
  PREPARE(2);
  const auto throttle = make();
  ASSERT_TRUE(throttle);
  const auto group = lab_->make_group_for(process_->thread(1), "vcpu1");
  ASSERT_TRUE(group) << group.error().message;
  ASSERT_TRUE(write_quota(lab_->version(), *group, quota_for(0.5)));  // as if another godwit had
  const std::string before = picture();
  const Status set = throttle->set(0.5);
  ASSERT_FALSE(set);
  EXPECT_EQ(set.error().kind, ErrorKind::kRefused) << set.error().message;
  EXPECT_EQ(picture(), before);
}

/// A second thread's group cannot be made: the first one's is gone again.
TEST_P(GroupThrottles, ThatFailHalfWayAreUndone) {
  if (GetParam() != ThrottleWay::kCgroupV2) GTEST_SKIP() << "version 1 does not limit the number of groups";
  PREPARE(2);
  ASSERT_TRUE(write_control_file(lab_->home() + "/cgroup.max.descendants", "1"));
  const std::string before = picture();
  const auto throttle = make();
  ASSERT_TRUE(throttle);
  EXPECT_FALSE(throttle->set(0.5));
  EXPECT_EQ(picture(), before);
  ASSERT_TRUE(write_control_file(lab_->home() + "/cgroup.max.descendants", "max"));
  EXPECT_TRUE(throttle->set(0.5));
  EXPECT_TRUE(throttle->release());
  EXPECT_EQ(picture(), before);
}

/// A thread that was born in a group of ours goes home too.
TEST_P(GroupThrottles, TakeEverybodyHome) {
  PREPARE(1);
  const std::string before = picture();
  const auto throttle = make();
  ASSERT_TRUE(throttle);
  ASSERT_TRUE(throttle->set(0.3));
  const auto groups = groups_below(lab_->home());
  ASSERT_EQ(groups.size(), 1U);
  ASSERT_TRUE(move_thread(lab_->version(), process_->pid(), groups[0]));
  ASSERT_TRUE(process_->add_thread());
  EXPECT_EQ(threads_in(lab_->version(), groups[0]).value_or(std::vector<pid_t>()).size(), 3U);
  ASSERT_TRUE(throttle->release());
  EXPECT_TRUE(groups_below(lab_->home()).empty());
  EXPECT_EQ(threads_in(lab_->version(), lab_->home()).value_or(std::vector<pid_t>()).size(), 3U);
}

}  // namespace
}  // namespace godwit::group_throttle_test
