// What every channel must do, run on each kind.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <future>
#include <map>
#include <random>
#include <thread>

#include "tests/net/channel_kinds.h"
#include "tests/support/manual_clock.h"

namespace godwit::testing::channel_conformance_test {
namespace {

using std::chrono::milliseconds;

std::vector<std::byte> random_bytes(std::size_t size, unsigned seed) {
  std::mt19937_64 random(seed);
  std::vector<std::byte> bytes(size);
  for (std::size_t at = 0; at < size; at += 8) {
    const std::uint64_t word = random();
    std::memcpy(bytes.data() + at, &word, std::min<std::size_t>(8, size - at));
  }
  return bytes;
}

/// Sends all of it in pieces of odd sizes.
Status send_in_pieces(Channel& channel, Bytes bytes, unsigned seed) {
  std::mt19937_64 random(seed);
  while (!bytes.empty()) {
    const std::size_t size = std::min<std::size_t>(bytes.size(), 1 + random() % 300'007);
    TRY(send_bytes(channel, bytes.first(size)));
    bytes = bytes.subspan(size);
  }
  return {};
}

Status receive_in_pieces(Channel& channel, MutableBytes bytes, unsigned seed) {
  std::mt19937_64 random(seed);
  while (!bytes.empty()) {
    const std::size_t size = std::min<std::size_t>(bytes.size(), 1 + random() % 200'003);
    TRY(receive_bytes(channel, bytes.first(size)));
    bytes = bytes.subspan(size);
  }
  return {};
}

class ChannelConformance : public ::testing::TestWithParam<ChannelKind> {
 protected:
  void SetUp() override {
    if (GetParam().needs_ipv6 && !has_ipv6_loopback()) GTEST_SKIP() << "this host has no ::1";
    auto pair = GetParam().make({});
    ASSERT_TRUE(pair) << pair.error().message;
    near_ = std::move(pair->first);
    far_ = std::move(pair->second);
    for (const Channel* channel : {near_.get(), far_.get()}) handshakes_[channel] = counts(*channel);
  }

  struct Counts {
    std::uint64_t sent = 0, received = 0;
  };
  static Counts counts(const Channel& channel) {
    Link& link = const_cast<Channel&>(channel).link();
    return {link.bytes_sent(), link.bytes_received()};
  }
  /// Since the test began.
  std::uint64_t sent(Channel& channel) { return counts(channel).sent - handshakes_[&channel].sent; }
  std::uint64_t received(Channel& channel) { return counts(channel).received - handshakes_[&channel].received; }
  /// On the wire; where the kind adds something of its own, a little more.
  static void expect_count(std::uint64_t counted, std::uint64_t bytes) {
    EXPECT_GE(counted, bytes);
    EXPECT_LE(counted, GetParam().adds_bytes ? bytes + bytes / 100 + 100 : bytes);
  }

  /// Waits until the channel has sent something and gets no further because its peer does not read.
  void await_stuck(Channel& channel) {
    std::uint64_t before = 0;
    do {
      before = channel.link().bytes_sent();
      std::this_thread::sleep_for(milliseconds(10));
    } while (before <= handshakes_[&channel].sent || before != channel.link().bytes_sent());
  }

  /// Waits until the channel has taken something that was sent to it.
  void await_taken(Channel& channel) {
    while (received(channel) == 0) std::this_thread::yield();
  }

  static void await_confirmed(Channel& channel) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (channel.link().send_queue().bytes != 0 && std::chrono::steady_clock::now() < deadline)
      std::this_thread::yield();
    EXPECT_EQ(channel.link().send_queue().bytes, 0U);
  }

  std::unique_ptr<Channel> near_;
  std::unique_ptr<Channel> far_;
  std::map<const Channel*, Counts> handshakes_;
};

TEST_P(ChannelConformance, CarriesBothDirectionsAtOnce) {
  constexpr std::size_t kSize = 6'000'011;
  const auto there = random_bytes(kSize, 1);
  const auto back = random_bytes(kSize, 2);
  std::vector<std::byte> arrived_there(kSize), arrived_back(kSize);
  Status sent_there, sent_back, got_there;
  {
    std::jthread near_sender([&] { sent_there = send_in_pieces(*near_, there, 3); });
    std::jthread far_sender([&] { sent_back = send_in_pieces(*far_, back, 4); });
    std::jthread far_receiver([&] { got_there = receive_in_pieces(*far_, arrived_there, 5); });
    const Status got_back = receive_in_pieces(*near_, arrived_back, 6);
    EXPECT_TRUE(got_back) << got_back.error().message;
  }
  EXPECT_TRUE(sent_there) << sent_there.error().message;
  EXPECT_TRUE(sent_back) << sent_back.error().message;
  EXPECT_TRUE(got_there) << got_there.error().message;
  EXPECT_TRUE(arrived_there == there);
  EXPECT_TRUE(arrived_back == back);
  expect_count(sent(*near_), kSize);
  expect_count(received(*near_), kSize);
  expect_count(sent(*far_), kSize);
  expect_count(received(*far_), kSize);
}

TEST_P(ChannelConformance, JoinsManyPartsInOrderEmptyOnesToo) {
  auto bytes = random_bytes(1'500'001, 7);
  std::vector<iovec> parts;
  std::mt19937_64 random(8);
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t size = std::min<std::size_t>(bytes.size() - at, random() % 3 == 0 ? 0 : random() % 1500);
    parts.push_back({bytes.data() + at, size});
    at += size;
  }
  parts.push_back({nullptr, 0});
  ASSERT_GT(parts.size(), 1024u) << "more than one sendmsg can take";

  Status sent;
  std::vector<std::byte> arrived(bytes.size());
  {
    std::jthread sender([&] { sent = near_->write(parts, Deadline::never()); });
    const Status got = receive_bytes(*far_, arrived);
    EXPECT_TRUE(got) << got.error().message;
  }
  EXPECT_TRUE(sent) << sent.error().message;
  EXPECT_TRUE(arrived == bytes);
}

TEST_P(ChannelConformance, NothingIsAValidAmount) {
  EXPECT_TRUE(near_->write({}, Deadline::never()));
  EXPECT_TRUE(send_bytes(*near_, {}));
  EXPECT_TRUE(receive_bytes(*far_, {}));
  expect_count(sent(*near_), 0);
}

TEST_P(ChannelConformance, AnEarlyEndIsAPeerLost) {
  ASSERT_TRUE(send_bytes(*near_, random_bytes(60, 9)));
  near_.reset();
  std::vector<std::byte> buffer(100);
  const Status got = receive_bytes(*far_, buffer);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().kind, ErrorKind::kPeerLost);
  EXPECT_THAT(got.error().message, ::testing::HasSubstr("the peer closed the connection"));
}

TEST_P(ChannelConformance, SendingToAClosedPeerFailsWithoutASignal) {
  near_.reset();
  const auto bytes = random_bytes(1 << 20, 10);
  Status sent;
  // TCP learns of it with the first answer, not with the first send.
  for (int i = 0; i < 1000 && sent; ++i) sent = send_bytes(*far_, bytes);
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().kind, ErrorKind::kPeerLost) << sent.error().message;
}

TEST_P(ChannelConformance, AfterFinishSendingTheOtherDirectionLives) {
  const auto last = random_bytes(1000, 11);
  ASSERT_TRUE(send_bytes(*near_, last));
  ASSERT_TRUE(near_->shut_down());
  std::vector<std::byte> arrived(last.size());
  ASSERT_TRUE(receive_bytes(*far_, arrived));
  EXPECT_EQ(arrived, last);
  const Status end = receive_bytes(*far_, MutableBytes(arrived).first(1));
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().kind, ErrorKind::kPeerLost);

  const auto answer = random_bytes(1000, 12);
  ASSERT_TRUE(send_bytes(*far_, answer));
  ASSERT_TRUE(receive_bytes(*near_, arrived));
  EXPECT_EQ(arrived, answer);
}

TEST_P(ChannelConformance, AbortWakesASenderThatBlocks) {
  const auto bytes = random_bytes(64 << 10, 13);
  Status sent;
  std::jthread sender([&] {
    for (int i = 0; i < 1000 && sent; ++i) sent = send_bytes(*near_, bytes);  // far more than socket buffers hold
  });
  await_stuck(*near_);
  near_->abort();
  sender.join();
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().kind, ErrorKind::kCancelled) << sent.error().message;
}

/// Whoever sends a commit to a peer that hangs must not wait for ever.
TEST_P(ChannelConformance, SendingToAPeerThatReadsNothingFails) {
  constexpr milliseconds kDeadAfter(200);
  const std::vector<std::byte> much(64 << 20);  // more than socket buffers hold
  for (const bool connector : {true, false}) {
    auto pair = GetParam().make({.dead_after = kDeadAfter});
    ASSERT_TRUE(pair) << pair.error().message;
    Channel& sender = connector ? *pair->first : *pair->second;
    const auto before = std::chrono::steady_clock::now();
    auto sending = std::async(std::launch::async, [&] { return send_bytes(sender, much); });
    if (sending.wait_for(std::chrono::seconds(60)) != std::future_status::ready) sender.abort();
    const Status sent = sending.get();
    ASSERT_FALSE(sent);
    EXPECT_EQ(sent.error().kind, ErrorKind::kPeerLost) << sent.error().message;
    if (!GetParam().is_tcp) {  // the kernel's own timer otherwise, and its words
      EXPECT_GE(std::chrono::steady_clock::now() - before, kDeadAfter);
      EXPECT_THAT(sent.error().message, ::testing::HasSubstr("took nothing for 0.2 s"));
    }
  }
}

TEST_P(ChannelConformance, CountsTheTimeInWhichItsBytesWereNotTaken) {
  EXPECT_EQ(near_->link().send_waits().total, Duration::zero());
  const auto bytes = random_bytes(16 << 20, 14);  // more than socket buffers hold
  Status sent;
  std::jthread sender([&] { sent = send_bytes(*near_, bytes); });
  await_stuck(*near_);
  std::vector<std::byte> arrived(bytes.size());
  ASSERT_TRUE(receive_bytes(*far_, arrived));
  sender.join();
  ASSERT_TRUE(sent) << sent.error().message;
  const SendWaits waits = near_->link().send_waits();
  // It was stuck for as long as await_stuck() looks at it twice, or nearly so.
  EXPECT_GT(waits.total, milliseconds(5));
  EXPECT_LE(waits.for_receiver, waits.total);
  if (GetParam().is_tcp) {
    EXPECT_GT(waits.for_receiver, milliseconds(5));
  }
  EXPECT_EQ(far_->link().send_waits().total, Duration::zero());
}

TEST_P(ChannelConformance, TellsWhatThePeerHasNotConfirmed) {
  await_confirmed(*near_);  // a handshake's last word
  const auto piece = random_bytes(16 << 10, 15);
  std::size_t sent = 0;
  // A peer that reads nothing confirms nothing any more at some time, and before send() blocks.
  for (; near_->link().send_queue().bytes == 0; sent += piece.size()) ASSERT_TRUE(send_bytes(*near_, piece));
  std::vector<std::byte> arrived(sent);
  ASSERT_TRUE(receive_bytes(*far_, arrived));
  await_confirmed(*near_);
  EXPECT_EQ(near_->link().send_queue().round_trip > Duration::zero(), GetParam().is_tcp);
}

/// Whoever gives a move up may find a writer stuck, with the guest paused.
TEST_P(ChannelConformance, ShuttingDownWaitsForNoWriterThatBlocksAndEndsIt) {
  const auto much = random_bytes(64 << 20, 21);
  Status sent;
  std::jthread writer([&] { sent = send_bytes(*near_, much); });
  await_stuck(*near_);
  auto ended = std::async(std::launch::async, [&] { return near_->shut_down(); });
  ASSERT_EQ(ended.wait_for(milliseconds(2000)), std::future_status::ready);
  EXPECT_TRUE(ended.get());
  writer.join();
  EXPECT_FALSE(sent);
}

TEST_P(ChannelConformance, AbortWakesAReceiverThatBlocks) {
  for (const Duration timeout : {Duration::zero(), Duration(std::chrono::hours(1))}) {
    auto pair = GetParam().make({});
    ASSERT_TRUE(pair) << pair.error().message;
    Status got;
    std::atomic<bool> started = false;
    std::jthread receiver([&] {
      std::byte byte;
      started = true;
      got = receive_bytes(*pair->first, {&byte, 1}, timeout);
    });
    while (!started) std::this_thread::yield();
    std::this_thread::sleep_for(milliseconds(10));  // most likely it blocks by now; right either way
    pair->first->abort();
    receiver.join();
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().kind, ErrorKind::kCancelled) << got.error().message;
  }
}

TEST_P(ChannelConformance, AbortIsForGoodAndThePeerNotices) {
  near_->abort();
  near_->abort();
  std::byte byte{};
  EXPECT_EQ(send_bytes(*near_, {&byte, 1}).error().kind, ErrorKind::kCancelled);
  EXPECT_EQ(near_->write({}, Deadline::never()).error().kind, ErrorKind::kCancelled);
  EXPECT_EQ(receive_bytes(*near_, {&byte, 1}).error().kind, ErrorKind::kCancelled);
  EXPECT_EQ(near_->shut_down().error().kind, ErrorKind::kCancelled);
  EXPECT_EQ(receive_bytes(*far_, {&byte, 1}).error().kind, ErrorKind::kPeerLost);
}

TEST_P(ChannelConformance, ReceiveTimesOutAndTheChannelLivesOn) {
  constexpr milliseconds kTimeout(30);
  std::byte byte{};
  const auto before = std::chrono::steady_clock::now();
  const Status got = receive_bytes(*far_, {&byte, 1}, kTimeout);
  EXPECT_GE(std::chrono::steady_clock::now() - before, kTimeout);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().kind, ErrorKind::kTimedOut) << got.error().message;

  const std::byte sent{42};
  ASSERT_TRUE(send_bytes(*near_, {&sent, 1}));
  ASSERT_TRUE(receive_bytes(*far_, {&byte, 1}));
  EXPECT_EQ(byte, sent);
}

/// Waits until poll(2) says that there is something to read.
bool readable(Channel& channel) {
  pollfd waiting{.fd = channel.link().descriptor(), .events = POLLIN, .revents = 0};
  return ::poll(&waiting, 1, 20'000) == 1;
}

TEST_P(ChannelConformance, GivesWhatHasComeWithoutWaiting) {
  std::array<std::byte, 8> room{};
  EXPECT_EQ(near_->read(room, 0, Deadline::never()), std::size_t{0});
  ASSERT_TRUE(send_bytes(*far_, bytes_of("0123456789")));
  ASSERT_TRUE(readable(*near_));
  EXPECT_EQ(near_->read(MutableBytes(room).first(3), 0, Deadline::never()), std::size_t{3});
  EXPECT_EQ(text_of(Bytes(room).first(3)), "012");
  EXPECT_EQ(near_->read(room, 0, Deadline::never()), std::size_t{7});
  EXPECT_EQ(text_of(Bytes(room).first(7)), "3456789");
  EXPECT_EQ(near_->read(room, 0, Deadline::never()), std::size_t{0});
  expect_count(received(*near_), 10);
  ASSERT_TRUE(far_->shut_down());
  ASSERT_TRUE(readable(*near_));
  const auto ended = near_->read(room, 0, Deadline::never());
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().kind, ErrorKind::kPeerLost);
  near_->abort();
  const auto aborted = near_->read(room, 0, Deadline::never());
  ASSERT_FALSE(aborted);
  EXPECT_EQ(aborted.error().kind, ErrorKind::kCancelled);
}

/// No timer of the kernel's, nor of the channel's own, ends this: the peer reads, too little of it.
TEST_P(ChannelConformance, AWriteToAPeerThatReadsHardlyAnythingEndsAtItsDeadline) {
  ManualClock clock;
  const std::vector<std::byte> much(64 << 20);  // more than socket buffers hold
  auto sending = std::async(std::launch::async, [&, until = Deadline::in(std::chrono::seconds(6), clock)] {
    return send_bytes(*near_, much, until);
  });
  std::vector<std::byte> little(1000);
  await_stuck(*near_);
  for (int i = 0; i < 5; ++i) {
    clock.advance(std::chrono::seconds(1));
    ASSERT_TRUE(receive_bytes(*far_, little, std::chrono::seconds(20)));
    EXPECT_EQ(sending.wait_for(milliseconds(60)), std::future_status::timeout);
  }
  clock.advance(std::chrono::seconds(1));
  const bool ended = sending.wait_for(std::chrono::seconds(5)) == std::future_status::ready;
  EXPECT_TRUE(ended);
  near_->abort();
  const Status sent = sending.get();
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().kind, ErrorKind::kTimedOut) << sent.error().message;
  EXPECT_THAT(sent.error().message, ::testing::HasSubstr("within 6 s"));
}

TEST_P(ChannelConformance, AWriteForWhichThereIsRoomNeedsNoTime) {
  ASSERT_TRUE(send_bytes(*near_, bytes_of("commit"), Deadline::in(Duration::zero())));
  std::array<std::byte, 6> got{};
  ASSERT_TRUE(receive_bytes(*far_, got));
  EXPECT_EQ(text_of(got), "commit");
}

/// However its bytes come: this is not the time that the peer may be silent.
TEST_P(ChannelConformance, AReadEndsAtItsDeadline) {
  ManualClock clock;
  std::array<std::byte, 10> room{};
  auto reading = std::async(std::launch::async, [&, until = Deadline::in(std::chrono::seconds(6), clock)] {
    return near_->read(room, room.size(), until);
  });
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(send_bytes(*far_, bytes_of("x")));
    clock.advance(std::chrono::seconds(1));
    EXPECT_EQ(reading.wait_for(milliseconds(60)), std::future_status::timeout);
  }
  clock.advance(std::chrono::seconds(1));
  const bool ended = reading.wait_for(std::chrono::seconds(5)) == std::future_status::ready;
  EXPECT_TRUE(ended);
  near_->abort();
  const auto got = reading.get();
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().kind, ErrorKind::kTimedOut) << got.error().message;
}

TEST_P(ChannelConformance, ReadsAtLeastAndAtMost) {
  std::array<std::byte, 8> room{};
  ASSERT_TRUE(send_bytes(*far_, bytes_of("01")));
  std::jthread later([&] {
    await_taken(*near_);
    EXPECT_TRUE(send_bytes(*far_, bytes_of("234")));
  });
  // Two have come, a third is waited for, and those with it are taken where there is room.
  EXPECT_EQ(near_->read(room, 3, Deadline::in(std::chrono::seconds(20))), std::size_t{5});
  EXPECT_EQ(text_of(Bytes(room).first(5)), "01234");
  later.join();
  ASSERT_TRUE(send_bytes(*far_, bytes_of("56789")));
  EXPECT_EQ(near_->read(MutableBytes(room).first(4), 4, Deadline::never()), std::size_t{4});
  EXPECT_EQ(text_of(Bytes(room).first(4)), "5678");
  EXPECT_EQ(near_->read(room, 1, Deadline::never()), std::size_t{1});
  // In the middle of what is waited for, an end is not an amount.
  ASSERT_TRUE(send_bytes(*far_, bytes_of("ab")));
  ASSERT_TRUE(far_->shut_down());
  EXPECT_EQ(near_->read(room, 3, Deadline::never()).error().kind, ErrorKind::kPeerLost);
}

INSTANTIATE_TEST_SUITE_P(Kinds, ChannelConformance, ::testing::ValuesIn(channel_kinds()),
                         [](const auto& kind) { return kind.param.name; });

}  // namespace
}  // namespace godwit::testing::channel_conformance_test
