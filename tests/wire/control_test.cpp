// The control connection: framing, limits before allocation, many senders.
#include "wire/control.h"

#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "tests/support/faulty_channel.h"
#include "tests/support/manual_clock.h"
#include "tests/wire/samples.h"
#include "wire/limits.h"
#include "wire/message_types.h"

namespace godwit::wire::testing::control_test {
namespace {

struct Ends {
  std::unique_ptr<Channel> near;
  std::unique_ptr<Channel> far;
};

Ends make_ends() {
  auto pair = make_channel_pair();
  EXPECT_TRUE(pair);
  return {std::move(pair->first), std::move(pair->second)};
}

TEST(Control, EveryMessageComesThroughInOrder) {
  const Ends ends = make_ends();
  ControlConnection near(*ends.near);
  ControlConnection far(*ends.far);
  for (const Message& message : sample_messages()) ASSERT_TRUE(near.send(message));
  for (const Message& message : sample_messages()) {
    const auto got = far.receive();
    ASSERT_TRUE(got) << got.error().message;
    EXPECT_TRUE(*got == message);
  }
}

TEST(Control, TheLargestMessagesComeThrough) {
  const Ends ends = make_ends();
  ControlConnection near(*ends.near);
  ControlConnection far(*ends.far);
  const Message device = DeviceBytes{std::vector<std::byte>(kMaxDeviceBytes, std::byte{1})};
  const Message map = DataMap{ChunkIndex{0}, std::vector<PageWord>(kMaxMapWords, 5)};
  Status sent;
  std::jthread sender([&] {
    sent = near.send(device);
    if (sent) sent = near.send(map);
  });
  for (const Message* message : {&device, &map}) {
    const auto got = far.receive();
    ASSERT_TRUE(got) << got.error().message;
    EXPECT_TRUE(*got == *message);
  }
  sender.join();
  EXPECT_TRUE(sent);
}

/// Whoever commits must not wait for ever, neither for the peer nor for what is stuck on the way to it.
TEST(Control, ACommitBehindAMessageThatIsStuckHasADeadline) {
  const Ends ends = make_ends();
  ControlConnection near(*ends.near);
  std::jthread stuck([&] {
    const DeviceBytes device{std::vector<std::byte>(kMaxDeviceBytes)};
    while (near.send(device)) continue;  // far more than socket buffers hold
  });
  std::uint64_t sent = 0;
  while (sent == 0 || sent != ends.near->link().bytes_sent()) {
    sent = ends.near->link().bytes_sent();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  godwit::testing::ManualClock clock;
  auto commit = std::async(std::launch::async, [&, until = Deadline::in(std::chrono::seconds(6), clock)] {
    return near.send(Commit{}, until);
  });
  EXPECT_EQ(commit.wait_for(std::chrono::milliseconds(100)), std::future_status::timeout);
  clock.advance(std::chrono::seconds(6));
  EXPECT_EQ(commit.wait_for(std::chrono::seconds(3)), std::future_status::ready);
  ends.near->abort();
  const Status committed = commit.get();
  ASSERT_FALSE(committed);
  EXPECT_EQ(committed.error().kind, ErrorKind::kTimedOut) << committed.error().message;
}

TEST(Control, WhatThePeerWouldRefuseIsNotSent) {
  const Ends ends = make_ends();
  ControlConnection near(*ends.near);
  Hello long_name{sample_fingerprint(), 1, ""};
  long_name.fingerprint.machine = std::string(kMaxNameBytes + 1, 'm');
  const Message refused[] = {
      DeviceBytes{std::vector<std::byte>(kMaxDeviceBytes + 1)},
      DataMap{ChunkIndex{0}, std::vector<PageWord>(kMaxMapWords + 1, 0)},
      DataMap{ChunkIndex{0}, {}},
      DataMap{ChunkIndex{0xffffffff}, {0, 0}},
      long_name,
  };
  for (const Message& message : refused) {
    const Status sent = near.send(message);
    ASSERT_FALSE(sent);
    EXPECT_EQ(sent.error().kind, ErrorKind::kInvalidArgument) << sent.error().message;
  }
  EXPECT_EQ(ends.near->link().bytes_sent(), 0u);
}

TEST(Control, ALengthOverTheLimitIsRefusedFromTheHeaderAlone) {
  for (const Message& message : sample_messages()) {
    const auto type = encode(message).type;
    const Ends ends = make_ends();
    std::array<std::byte, 8> header{};
    header[0] = static_cast<std::byte>(type);
    const auto length = static_cast<std::uint32_t>(body_limit(type) + 1);
    for (unsigned i = 0; i < 4; ++i) header[4 + i] = static_cast<std::byte>(length >> (8 * i));
    ASSERT_TRUE(send_bytes(*ends.near, header));
    // No body comes: a receiver that believed the header would wait for it.
    const auto got = ControlConnection(*ends.far, std::chrono::seconds(10)).receive();
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().kind, ErrorKind::kProtocol) << got.error().message;
  }
}

TEST(Control, AMalformedHeaderIsRefused) {
  for (const std::string_view header : {"0000000000000000", "0800000000000000", "4000000000000000", "8100010000000000",
                                        "8100000001000000", "47455420ffffffff", "ffffffffffffffff"}) {
    const Ends ends = make_ends();
    ASSERT_TRUE(send_bytes(*ends.near, unhex(header)));
    const auto got = ControlConnection(*ends.far).receive();
    ASSERT_FALSE(got) << header;
    EXPECT_EQ(got.error().kind, ErrorKind::kProtocol);
  }
}

TEST(Control, AConnectionCutAnywhereIsAPeerLost) {
  const Message message = Refusal{"the machine types differ"};
  const std::size_t size = 8 + encode(message).body.size();
  for (std::size_t cut = 0; cut < size; ++cut) {
    Ends ends = make_ends();
    godwit::testing::FaultyChannel faulty(std::move(ends.near), {.after_sent = cut});
    EXPECT_EQ(ControlConnection(faulty).send(message).error().kind, ErrorKind::kPeerLost);
    const auto got = ControlConnection(*ends.far).receive();
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().kind, ErrorKind::kPeerLost);
  }
}

TEST(Control, MessagesOfManyThreadsDoNotMix) {
  constexpr std::uint32_t kThreads = 4;
  constexpr std::uint32_t kEach = 500;
  const Ends ends = make_ends();
  ControlConnection near(*ends.near);
  ControlConnection far(*ends.far);
  std::vector<std::jthread> senders;
  for (std::uint32_t t = 0; t < kThreads; ++t) {
    senders.emplace_back([&, t] {
      for (std::uint32_t i = 0; i < kEach; ++i) {
        if (!near.send(DeviceBytes{std::vector<std::byte>(i, std::byte{0x5a})}) || !near.send(Fenced{t * kEach + i})) {
          return;
        }
      }
    });
  }
  std::array<std::uint32_t, kThreads> next{};
  for (std::uint32_t n = 0; n < 2 * kThreads * kEach; ++n) {
    const auto got = far.receive();
    ASSERT_TRUE(got) << got.error().message;
    if (const auto* device = std::get_if<DeviceBytes>(&*got)) {
      for (const std::byte b : device->bytes) ASSERT_EQ(b, std::byte{0x5a});
      continue;
    }
    const auto* fenced = std::get_if<Fenced>(&*got);
    ASSERT_NE(fenced, nullptr);
    ASSERT_LT(fenced->fence / kEach, kThreads);
    EXPECT_EQ(fenced->fence % kEach, next[fenced->fence / kEach]++) << "one thread's messages keep their order";
  }
}

}  // namespace
}  // namespace godwit::wire::testing::control_test
