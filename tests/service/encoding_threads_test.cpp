#include "service/encoding_threads.h"

#include <gtest/gtest.h>

namespace godwit::encoding_threads_test {
namespace {

unsigned next(unsigned allowed, unsigned at_work, unsigned most, double idle) {
  return next_encoding_threads({.allowed = allowed, .at_work = at_work}, most, idle);
}

TEST(EncodingThreadsPolicy, TakesIdleCpusTwoAtATime) {
  EXPECT_EQ(next(0, 0, 8, 7.6), 2U);
  EXPECT_EQ(next(2, 2, 8, 5.6), 4U);
  EXPECT_EQ(next(6, 6, 8, 1.6), 7U);
  EXPECT_EQ(next(7, 7, 8, 1.0), 7U) << "half a CPU stays idle";
  EXPECT_EQ(next(8, 8, 8, 9), 8U) << "the most";
}

TEST(EncodingThreadsPolicy, TakesNoMoreWhileSomeHaveNothingToDo) {
  EXPECT_EQ(next(4, 3, 8, 8), 4U);
  EXPECT_EQ(next(0, 0, 8, 8), 2U);
}

TEST(EncodingThreadsPolicy, GivesUpAQuarterWhereNothingIsLeftIdle) {
  EXPECT_EQ(next(8, 8, 8, 0.1), 5U);
  EXPECT_EQ(next(5, 5, 8, 0), 3U);
  EXPECT_EQ(next(1, 0, 8, 0), 0U);
  EXPECT_EQ(next(0, 0, 8, 0), 0U);
  EXPECT_EQ(next(4, 4, 8, 0.4), 4U) << "a little idle: as it should be";
}

TEST(EncodingThreadsPolicy, ComesToRest) {
  // Of 16 CPUs others use 5 and then 12; each thread takes one.
  unsigned threads = 0;
  for (const unsigned others : {5U, 12U, 0U}) {
    for (int look = 0; look < 20; ++look) {
      threads = next(threads, threads, 16, std::max(0.0, 16.0 - others - threads));
    }
    EXPECT_GE(threads + others, 14U);
    EXPECT_LE(threads + others, 16U);
  }
}

TEST(EncodingThreads, AreNoneWhereTheLanesHaveAllCpus) {
  const SteadyClock clock;
  EncodingThreads none(std::nullopt, 10'000, {}, clock);
  EXPECT_EQ(none.encoders().lend({CodecId::kZstd, 1}, 0).value()->depth(), 1U);
  EncodingThreads asked(3, 10'000, {}, clock);
  EXPECT_EQ(asked.encoders().lend({CodecId::kZstd, 1}, 0).value()->depth(), EncoderPool::kDepth);
}

}  // namespace
}  // namespace godwit::encoding_threads_test
