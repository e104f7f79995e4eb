// A link with a queue, simulated: what is pushed faster than it carries waits there.
#include "engine/push_pace.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace godwit::push_pace_test {
namespace {

constexpr double kLook = 0.02;  // seconds

struct QueuedLink {
  double bytes_per_second;
  double queue = 0;  ///< bytes

  /// For the time between two looks.
  void carry(PushPace& pace) {
    const double came = pace.now() * kLook;
    const double went = std::min(queue + came, bytes_per_second * kLook);
    queue += came - went;
    pace.look(went / kLook, std::chrono::duration_cast<Duration>(std::chrono::duration<double>(delay())));
  }
  double delay() const { return queue / bytes_per_second; }
};

TEST(PushPace, KeepsTheQueueShortAndTheLinkNearlyFull) {
  QueuedLink link{125e6};
  PushPace pace(118e6);
  double carried = 0;
  double longest = 0;
  for (int look = 0; look < 1000; ++look) {
    link.carry(pace);
    carried += pace.now();
    longest = std::max(longest, link.delay());
  }
  EXPECT_GT(carried / 1000, 0.9 * link.bytes_per_second);
  EXPECT_LT(longest, 0.002);
}

TEST(PushPace, FollowsALinkThatBecomesFasterOrSlower) {
  QueuedLink link{50e6};
  PushPace pace(50e6);
  for (int look = 0; look < 100; ++look) link.carry(pace);
  link.bytes_per_second = 125e6;
  for (int look = 0; look < 250; ++look) link.carry(pace);
  EXPECT_GT(pace.now(), 100e6);
  link.bytes_per_second = 40e6;
  for (int look = 0; look < 250; ++look) link.carry(pace);
  EXPECT_LT(pace.now(), 42e6);
  EXPECT_LT(link.delay(), 0.01);
}

TEST(PushPace, MakesNoRoomForOthersBeyondAHalf) {
  PushPace pace(100e6);
  for (int look = 0; look < 1000; ++look) pace.look(30e6, std::chrono::milliseconds(20));
  EXPECT_DOUBLE_EQ(pace.now(), 50e6);
}

TEST(PushPace, OfAnUnknownLinkIsSetWhenAQueueShows) {
  PushPace pace(0);
  for (int look = 0; look < 50; ++look) pace.look(1e6, Duration{});
  EXPECT_EQ(pace.now(), 0);
  pace.look(1e6, std::chrono::milliseconds(5));
  EXPECT_LT(pace.now(), 1e6);
  EXPECT_GT(pace.now(), 0.9e6);
}

/// Its lanes have hardly begun, or get no CPU, on a host on which round trips take long besides: a pace of that would
/// be kept for ever, and the guest would wait for its memory for hours.
TEST(PushPace, OfAnUnknownLinkIsNotWhatGotThroughAtFirst) {
  PushPace pace(0);
  for (int look = 0; look < 10; ++look) pace.look(look % 3 == 0 ? 40e3 : 0, std::chrono::milliseconds(5));
  EXPECT_EQ(pace.now(), 0);
  for (int look = 0; look < 100; ++look) pace.look(look % 3 == 0 ? 99e6 : 20e3, std::chrono::milliseconds(5));
  EXPECT_GE(pace.now(), 33e6 / 2);
}

/// Sockets swallow a hundred milliseconds of a slow link at once. A pace above what the link carries would fill its
/// queue for ever.
TEST(PushPace, OfAnUnknownLinkIsNotWhatSocketsSwallowed) {
  PushPace pace(0);
  for (int look = 0; look < 200; ++look) {
    pace.look(look == 0 ? 80e6 : look == 30 ? 5e6 : 1e6, std::chrono::milliseconds(5));
  }
  EXPECT_GE(pace.now(), 0.5e6);
  EXPECT_LE(pace.now(), 1e6);
}

}  // namespace
}  // namespace godwit::push_pace_test
