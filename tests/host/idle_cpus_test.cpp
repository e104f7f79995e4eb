#include "host/idle_cpus.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "tests/host/made_up_host.h"

namespace godwit::idle_cpus_test {
namespace {

using namespace std::chrono_literals;
using testing::MadeUpHost;

cpu_set_t cpus(std::initializer_list<int> numbers) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int number : numbers) CPU_SET(number, &set);
  return set;
}

Instant at(Duration time) {
  return Instant{} + 1h + time;
}

class IdleCpusTest : public ::testing::Test {
 protected:
  /// Four CPUs; of the first two the idle ticks, of the others none; each has had `all`.
  void stat(unsigned all, unsigned idle0, unsigned idle1) {
    const auto line = [all](int cpu, unsigned idle) {
      return "cpu" + std::to_string(cpu) + " " + std::to_string(all - idle) + " 0 0 " +
             std::to_string(idle - idle / 2) + " " + std::to_string(idle / 2) +
             " 0 0 0 7 7\n";  // half of it waits for disks; guests are counted twice
    };
    host_.write("proc/stat", "cpu  1 2 3 4 5 6 7 8 9 10\n" + line(0, idle0) + line(1, idle1) + line(2, 0) + line(3, 0) +
                                 "intr 1 2 3\n");
  }
  MadeUpHost host_;
};

TEST_F(IdleCpusTest, TellWhatWasIdleSinceTheLastLook) {
  IdleCpus idle(cpus({0, 1, 2}), host_.paths());
  stat(100, 50, 50);
  EXPECT_EQ(idle.look(at(0s)), 0) << "the first";
  stat(200, 150, 75);
  EXPECT_NEAR(idle.look(at(1s)), 1.25, 1e-9);
  stat(300, 150, 75);
  EXPECT_EQ(idle.look(at(2s)), 0);
  EXPECT_EQ(idle.look(at(3s)), 0) << "no tick since";
}

TEST_F(IdleCpusTest, CountOnlyTheCpusThatTheyWereGiven) {
  IdleCpus idle(cpus({1, 3}), host_.paths());
  stat(100, 0, 0);
  EXPECT_EQ(idle.look(at(0s)), 0);
  stat(200, 100, 50);
  EXPECT_NEAR(idle.look(at(1s)), 0.5, 1e-9);
}

TEST_F(IdleCpusTest, AreNoMoreThanTheControlGroupAllows) {
  host_.write("proc/self/cgroup", "0::/a/b\n");
  host_.write("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
  host_.write("sys/fs/cgroup/a/cpu.max", "150000 100000\n");
  host_.write("sys/fs/cgroup/a/cpu.stat", "usage_usec 1000000\nuser_usec 7\n");
  IdleCpus idle(cpus({0, 1}), host_.paths());
  stat(100, 0, 0);
  EXPECT_EQ(idle.look(at(0s)), 0);
  stat(200, 100, 100);
  host_.write("sys/fs/cgroup/a/cpu.stat", "usage_usec 1700000\nuser_usec 7\n");
  EXPECT_NEAR(idle.look(at(1s)), 0.8, 1e-9) << "1.5 CPUs, of which 0.7 were used";
  stat(300, 200, 200);
  host_.write("sys/fs/cgroup/a/cpu.stat", "usage_usec 4000000\nuser_usec 7\n");
  EXPECT_EQ(idle.look(at(2s)), 0) << "used up";
}

TEST_F(IdleCpusTest, KnowTheFirstVersionsControlGroups) {
  host_.write("proc/self/cgroup", "4:memory:/m\n2:cpu,cpuacct:/a\n0::/\n");
  host_.write("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "50000\n");
  host_.write("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n");
  host_.write("sys/fs/cgroup/cpu,cpuacct/a/cpuacct.usage", "1000000000\n");
  host_.write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  host_.write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  const auto groups = limiting_cpu_groups(host_.paths());
  ASSERT_EQ(groups.size(), 1U);
  EXPECT_NEAR(groups[0].quota, 0.5, 1e-9);
  EXPECT_EQ(groups[0].used, Duration(1s));
}

TEST_F(IdleCpusTest, AreNoneWhereNobodyTells) {
  IdleCpus idle(cpus({0, 1}), host_.paths());
  EXPECT_EQ(idle.look(at(0s)), 0);
  EXPECT_EQ(idle.look(at(1s)), 0);
}

TEST(CpusBeside, LeaveOutThoseToWhichAThreadIsPinned) {
  cpu_set_t ours;
  ASSERT_EQ(::sched_getaffinity(0, sizeof ours, &ours), 0);
  if (CPU_COUNT(&ours) < 2) GTEST_SKIP() << "this machine lets us have one CPU";
  const pid_t unpinned = ::gettid();
  cpu_set_t beside = cpus_beside({{unpinned}});
  EXPECT_TRUE(CPU_EQUAL(&beside, &ours));

  int first = 0;
  while (!CPU_ISSET(first, &ours)) ++first;
  std::mutex mutex;
  std::condition_variable_any changed;
  std::atomic<pid_t> pinned{0};
  std::jthread vcpu([&](const std::stop_token& stop) {
    const cpu_set_t one = cpus({first});
    EXPECT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
    pinned = ::gettid();
    std::unique_lock lock(mutex);
    changed.wait(lock, stop, [] { return false; });
  });
  while (pinned == 0) std::this_thread::yield();
  beside = cpus_beside({{unpinned, pinned.load()}});
  EXPECT_FALSE(CPU_ISSET(first, &beside));
  EXPECT_EQ(CPU_COUNT(&beside), CPU_COUNT(&ours) - 1);

  ASSERT_EQ(::sched_setaffinity(0, sizeof ours, &ours), 0);
  const cpu_set_t only = cpus({first});
  ASSERT_EQ(::sched_setaffinity(0, sizeof only, &only), 0);
  beside = cpus_beside({{pinned.load()}});
  EXPECT_TRUE(CPU_EQUAL(&beside, &only)) << "nothing else is left";
  ASSERT_EQ(::sched_setaffinity(0, sizeof ours, &ours), 0);
}

}  // namespace
}  // namespace godwit::idle_cpus_test
