#include "base/cpu_account.h"

#include <gtest/gtest.h>

namespace godwit {
namespace {

using namespace std::chrono_literals;

void work_for(Duration time) {
  for (const Duration begin = thread_cpu_time(); thread_cpu_time() - begin < time;) {
  }
}

TEST(CpuAccount, HasTheTimeOfThreadsThatRunAndThatHaveEnded) {
  const auto account = std::make_shared<CpuAccount>();
  work_for(30ms);
  const ChargedTo charged(account);
  EXPECT_LT(account->total(), 20ms) << "what came before is not its own";
  work_for(20ms);
  EXPECT_GE(job_cpu_time(), 20ms);
  job_thread([] { work_for(20ms); }).join();
  EXPECT_GE(account->total(), 40ms) << "a thread that it has started, and that has ended";
  std::jthread other([] {
    work_for(60ms);
    EXPECT_GE(job_cpu_time(), 60ms) << "without a job, the whole process";
  });
  other.join();
  EXPECT_LT(account->total(), 40ms + 60ms) << "a thread of nobody's job";
}

TEST(CpuAccount, IsLeftAtTheEndOfItsScope) {
  EXPECT_EQ(current_account(), nullptr);
  const auto outer = std::make_shared<CpuAccount>();
  const auto inner = std::make_shared<CpuAccount>();
  const ChargedTo charged(outer);
  {
    const ChargedTo for_now(inner);
    EXPECT_EQ(current_account(), inner);
    work_for(10ms);
  }
  EXPECT_EQ(current_account(), outer);
  EXPECT_GE(inner->total(), 10ms);
  const Duration after = inner->total();
  work_for(10ms);
  EXPECT_EQ(inner->total(), after);
}

TEST(JobThread, IsToldToStopIfItWantsToBe) {
  std::stop_token seen;
  {
    auto thread = job_thread([&](const std::stop_token& stop) { seen = stop; });
  }
  EXPECT_TRUE(seen.stop_requested());
}

}  // namespace
}  // namespace godwit
