// Randomness: all of what was asked for, however much that is.
#include "base/random.h"

#include <gtest/gtest.h>
#include <sys/time.h>

#include <algorithm>
#include <csignal>
#include <vector>

namespace godwit::random_test {
namespace {

/// Whether each stretch of 32 bytes, the last included, has been written to. Random bytes are 32 zeros never.
bool all_filled(Bytes bytes) {
  constexpr std::size_t kStretch = 32;
  const auto filled = [](Bytes stretch) {
    return std::ranges::any_of(stretch, [](std::byte byte) { return byte != std::byte{0}; });
  };
  for (std::size_t at = 0; at + kStretch <= bytes.size(); at += kStretch) {
    if (!filled(bytes.subspan(at, kStretch))) return false;
  }
  return filled(bytes.last(kStretch));
}

TEST(FillWithRandom, FillsAllOfIt) {
  for (const std::size_t size : {32u, 256u, 257u, 1152u, 1u << 20}) {
    std::vector<std::byte> bytes(size + 1);
    const Status filled = fill_with_random(MutableBytes(bytes).first(size));
    ASSERT_TRUE(filled) << filled.error().message;
    EXPECT_TRUE(all_filled(Bytes(bytes).first(size))) << size;
    EXPECT_EQ(bytes.back(), std::byte{0}) << "past the end";
  }
}

volatile std::sig_atomic_t ticks = 0;

/// Interrupts this thread again and again, with a handler that counts in `ticks`.
class Interruptions {
 public:
  Interruptions() {
    struct sigaction count {};
    count.sa_handler = [](int) { ticks = ticks + 1; };
    ::sigaction(SIGALRM, &count, &before_);
    const itimerval often{{0, 100}, {0, 100}};
    ::setitimer(ITIMER_REAL, &often, nullptr);
  }
  ~Interruptions() {
    const itimerval never{};
    ::setitimer(ITIMER_REAL, &never, nullptr);
    ::sigaction(SIGALRM, &before_, nullptr);
  }
  Interruptions(const Interruptions&) = delete;
  Interruptions& operator=(const Interruptions&) = delete;

 private:
  struct sigaction before_ {};
};

TEST(FillWithRandom, FillsTheRestAfterASignal) {
  ticks = 0;
  const Interruptions interruptions;
  while (ticks < 50) {
    std::vector<std::byte> bytes(std::size_t{1} << 20);
    const Status filled = fill_with_random(bytes);
    ASSERT_TRUE(filled) << filled.error().message;
    ASSERT_TRUE(all_filled(bytes));
  }
}

TEST(FillWithRandom, GivesOtherBytesEachTime) {
  std::vector<std::byte> one(1024), other(1024);
  ASSERT_TRUE(fill_with_random(one));
  ASSERT_TRUE(fill_with_random(other));
  for (std::size_t at = 0; at < one.size(); at += 32) {
    EXPECT_FALSE(std::equal(one.begin() + at, one.begin() + at + 32, other.begin() + at)) << at;
  }
}

TEST(FillWithRandom, FillsNothingIfAskedForNothing) {
  EXPECT_TRUE(fill_with_random({}));
}

}  // namespace
}  // namespace godwit::random_test
