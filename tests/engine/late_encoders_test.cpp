// Lanes whose encoders answer later, in any order, refuse and fail: what arrives is what the source has, all the same.
#include <gtest/gtest.h>

#include <future>
#include <random>
#include <set>

#include "tests/support/fake_migration.h"
#include "tests/support/lane_pair.h"
#include "tests/support/late_encoders.h"

namespace godwit {
namespace {

using testing::LanePair;
using testing::LateEncoders;
using testing::Lateness;

constexpr std::size_t kPlenty = 4 << 20;
constexpr CodecChoice kLz4{CodecId::kLz4, 1};

struct LateShape {
  unsigned lanes;
  std::optional<CodecChoice> codec;
};

class LateEncodersExactness : public ::testing::TestWithParam<LateShape> {};

TEST_P(LateEncodersExactness, TheSinkEndsWithTheSourcesBytes) {
  const auto [count, codec] = GetParam();
  std::mt19937_64 random(count);
  LateEncoders encoders;
  LanePair lanes(testing::ram_of_chunks(5 * count),
                 {.codec = codec, .delta_memory = kPlenty, .lanes = count, .encoders = &encoders});
  for (int round = 0; round < 40; ++round) {
    // Again and again before a fence, so that versions of a page follow each other closely.
    for (int again = 0; again < 6; ++again) {
      testing::write_pages(lanes, 60 * count, random);
      lanes.board.announce();
    }
    lanes.copy();
    ASSERT_TRUE(lanes.here.bytes() == lanes.there.bytes()) << "round " << round;
  }
  const auto counters = lanes.counters();
  EXPECT_GE(encoders.seen.lent, count);
  EXPECT_GT(counters.pages_copied, 0U);
  EXPECT_GT(counters.pages_delta, 0U);
  EXPECT_TRUE(!codec || counters.blocks_not_encoded > 0);
  EXPECT_EQ(counters.encoders_given_up, 0U);
}

// The governor goes from codec to codec, each with jobs under way.
INSTANTIATE_TEST_SUITE_P(Lanes, LateEncodersExactness,
                         ::testing::Values(LateShape{1, kLz4}, LateShape{2, kLz4}, LateShape{3, kLz4},
                                           LateShape{8, kLz4}, LateShape{1, std::nullopt}, LateShape{3, std::nullopt}),
                         [](const auto& shape) {
                           return (shape.param.codec ? "Lz4On" : "AutoOn") + std::to_string(shape.param.lanes);
                         });

/// One lane whose encoders are as the test wants them.
class LateEncodersOfALane : public ::testing::Test {
 protected:
  void begin(Lateness lateness) {
    encoders_.lateness = lateness;
    lanes_.emplace(testing::ram_of_chunks(6),
                   testing::LanePairSetting{.codec = kLz4,
                                            .delta_memory = kPlenty,
                                            .encoders = &encoders_,
                                            .on_note = [this](std::string_view note) { notes_.emplace_back(note); }});
  }
  void expect_to_arrive(int rounds) {
    for (int round = 0; round < rounds; ++round) {
      testing::write_pages(*lanes_, 200, random_);
      lanes_->copy();
      ASSERT_TRUE(lanes_->here.bytes() == lanes_->there.bytes()) << "round " << round;
    }
  }
  std::uint64_t encoded_blocks() const { return lanes_->codecs().back().blocks; }

  std::mt19937_64 random_{3};
  LateEncoders encoders_;
  std::vector<std::string> notes_;
  std::optional<LanePair> lanes_;
};

TEST_F(LateEncodersOfALane, OneThatFailsAgainAndAgainIsGivenUpForAnother) {
  begin({.refused = 0, .not_taken = 0, .failed = 100});
  expect_to_arrive(4);
  EXPECT_EQ(encoded_blocks(), 0U);
  const auto given_up = lanes_->counters().encoders_given_up;
  EXPECT_GT(given_up, 0U);
  ASSERT_EQ(notes_.size(), given_up);
  EXPECT_EQ(notes_.front(),
            "lane 0: an encoder of lz4:1 is given up: 8 blocks in a row could not be encoded, its device failed");
  encoders_.lateness = {.refused = 0, .not_taken = 0, .failed = 0};
  expect_to_arrive(8);
  EXPECT_GT(encoded_blocks(), 0U);
}

TEST_F(LateEncodersOfALane, OneThatTakesNothingIsGivenUp) {
  begin({.refused = 0, .not_taken = 100, .another = false});
  expect_to_arrive(4);
  EXPECT_EQ(encoded_blocks(), 0U);
  EXPECT_EQ(lanes_->counters().encoders_given_up, 1U);
  EXPECT_EQ(encoders_.seen.lent, 1U);
  ASSERT_EQ(notes_.size(), 1U);
  EXPECT_NE(notes_.front().find("a device's error at submit"), std::string::npos) << notes_.front();
}

TEST_F(LateEncodersOfALane, OneThatIsBusyAllTheTimeIsAskedAgain) {
  begin({.refused = 100});
  expect_to_arrive(4);
  EXPECT_EQ(encoded_blocks(), 0U);
  EXPECT_EQ(lanes_->counters().encoders_given_up, 0U);
}

TEST_F(LateEncodersOfALane, OneThatDiesLosesNoBlock) {
  begin({.refused = 0, .answered = 10, .another = false, .dies_after = 20});
  expect_to_arrive(10);
  EXPECT_GT(encoded_blocks(), 0U);
  EXPECT_EQ(lanes_->counters().encoders_given_up, 1U);
}

/// The codec changes from block to block, and each has jobs under way; raw blocks have their place among them.
TEST(LaneEncoders, BlocksLeaveInTheirOrderWhateverTheirCodecs) {
  const std::vector<CodecChoice> levels{{CodecId::kRaw}, kLz4, {CodecId::kZstd, 1}, {CodecId::kDeflate, 1}};
  LateEncoders provider;
  LaneCounters counters;
  BlockRing ring;
  LaneEncoders encoders(provider, levels, ring, counters, {});
  std::mt19937_64 random(9);
  std::vector<std::byte> out(kPageSize);
  std::set<unsigned> used;
  std::size_t most = 0;
  std::uint64_t next = 0;
  const auto leave = [&] {
    const LaneBlock& block = *ring.oldest();
    const auto codec = block.encoded_size == 0 ? CodecId::kRaw : levels[block.choice.level].id;
    used.insert(static_cast<unsigned>(codec));
    const Bytes payload = codec == CodecId::kRaw ? block.input() : Bytes(block.encoded, block.encoded_size);
    ASSERT_TRUE(make_decoder(codec).value()->decode(payload, out));
    std::uint64_t number = 0;
    std::memcpy(&number, out.data(), sizeof number);
    ASSERT_EQ(number, next++);
    ring.drop_oldest();
  };
  for (std::uint64_t number = 0; number < 2000; ++number) {
    while (ring.spare() == nullptr) {
      encoders.await(*ring.oldest(), {});
      leave();
      if (HasFatalFailure()) return;
    }
    LaneBlock& block = *ring.spare();
    std::memset(block.pages, 0, kPageSize);
    std::memcpy(block.pages, &number, sizeof number);
    block.header.block = kPageSize;
    block.choice.level = random() % levels.size();
    ring.push();
    encoders.encode(block, {});
    encoders.poll();
    most = std::max(most, ring.under_way().size());
    while (ring.oldest() != nullptr && ring.oldest()->state == ItemState::kReady) {
      leave();
      if (HasFatalFailure()) return;
    }
  }
  EXPECT_EQ(most, provider.lateness.depth) << "the ring was never full";
  EXPECT_EQ(used.size(), levels.size());
}

TEST(SourceLane, StopsWhileItsEncoderHasNotAnswered) {
  LateEncoders encoders({.refused = 0, .not_taken = 0, .ever_answers = false});
  testing::PlainMemory memory(testing::ram_of_chunks(20));
  std::mt19937_64 random(1);
  Board board(20);
  SharedPageWords sent(20);
  SharedPageWords left_out(20);
  const SteadyClock clock;
  LaneSetting setting{.memory = memory,
                      .board = board,
                      .sent = sent,
                      .left_out = left_out,
                      .kernels = best_kernels({}),
                      .clock = clock,
                      .encoders = encoders,
                      .codec = kLz4,
                      .deltas = {.key = testing::kHashKey}};
  auto pair = make_channel_pair().value();
  for (const unsigned chunks : {1U, 20U}) {  // fewer and more than the encoder takes
    for (std::uint32_t c = 0; c < chunks; ++c) {
      testing::fill_at_random(memory, ChunkIndex{c}, 0, random);
      board.post(ChunkIndex{c}, 1);
    }
    SourceLane lane(setting, 0, *pair.first);
    auto ended = std::async(std::launch::async, [&, stop = std::stop_source()]() mutable {
      std::jthread sender([&](std::stop_token token) { EXPECT_TRUE(lane.run(token)); });
      while (board.waiting() > 0 && sent.of(ChunkIndex{std::min(chunks, 8U) - 1}) == 0) std::this_thread::yield();
      sender.request_stop();
      board.announce();
    });
    ASSERT_EQ(ended.wait_for(std::chrono::seconds(20)), std::future_status::ready);
  }
}

/// A whole migration of a guest that writes all the time. Encoders die while it goes on.
class LateEncodersMigration : public testing::FakeMigration, public ::testing::WithParamInterface<unsigned> {
 protected:
  LateEncodersMigration() : FakeMigration(testing::ram_of_chunks(40)) { encoders_ = &late_; }

  LateEncoders late_{{.dies_after = 100}};
};

TEST_P(LateEncodersMigration, MovesEveryByteOfAWritingGuest) {
  goals_.lanes = GetParam();
  goals_.codec = kLz4;
  auto received = std::async(std::launch::async, [this] { return receive(); });
  const auto report = send(steady_);
  EXPECT_EQ(report.outcome, Outcome::kDone) << (report.error ? report.error->message : "");
  EXPECT_EQ(received.get().outcome, Outcome::kDone);
  EXPECT_TRUE(sink_.runs());
  source_.with_memory([&](auto& memory) { EXPECT_TRUE(memory.bytes() == sink_.plain().bytes()); });
  EXPECT_GE(late_.seen.lent, GetParam());
}

INSTANTIATE_TEST_SUITE_P(Lanes, LateEncodersMigration, ::testing::Values(1U, 2U, 3U, 8U));

}  // namespace
}  // namespace godwit
