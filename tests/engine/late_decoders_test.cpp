// Sink lanes whose decoders answer later, in any order, refuse and fail: what the guest gets is what the source has,
// all the same.
#include <gtest/gtest.h>

#include <future>
#include <random>

#include "engine/in_place_placer.h"
#include "tests/support/fake_migration.h"
#include "tests/support/lane_pair.h"
#include "tests/support/late_decoders.h"
#include "tests/support/late_encoders.h"

namespace godwit::late_decoders_test {
namespace {

using testing::LanePair;
using testing::LateDecoders;
using testing::Lateness;

constexpr std::size_t kPlenty = 4 << 20;
constexpr CodecChoice kLz4{CodecId::kLz4, 1};

void expect_kept(const LateDecoders& decoders) {
  EXPECT_EQ(decoders.seen.touched, 0U) << "somebody wrote to what a decoder had";
  EXPECT_EQ(decoders.seen.too_many, 0U) << "the lane does not count its jobs";
}

struct Shape {
  unsigned lanes;
  std::optional<CodecChoice> codec;
  bool late_encoders = false;
  bool whole_pages = false;
};

class LateDecodersExactness : public ::testing::TestWithParam<Shape> {};

TEST_P(LateDecodersExactness, TheSinkEndsWithTheSourcesBytes) {
  const Shape shape = GetParam();
  std::mt19937_64 random(shape.lanes);
  LateDecoders decoders;
  testing::LateEncoders encoders;
  LanePair lanes(testing::ram_of_chunks(5 * shape.lanes), {.codec = shape.codec,
                                                           .delta_memory = kPlenty,
                                                           .lanes = shape.lanes,
                                                           .encoders = shape.late_encoders ? &encoders : nullptr,
                                                           .decoders = &decoders,
                                                           .places_whole_pages = shape.whole_pages});
  for (int round = 0; round < 40; ++round) {
    // Again and again before a fence, so that versions of a page follow each other closely.
    for (int again = 0; again < 6; ++again) {
      testing::write_pages(lanes, 60 * shape.lanes, random);
      lanes.board.announce();
    }
    lanes.copy();
    ASSERT_TRUE(lanes.here.bytes() == lanes.there.bytes()) << "round " << round;
  }
  const auto counters = lanes.counters();
  EXPECT_GT(counters.pages_copied, 0U);
  EXPECT_GT(counters.pages_delta, 0U);
  EXPECT_GE(decoders.seen.lent, shape.lanes);
  EXPECT_GT(decoders.seen.done, 0U);
  EXPECT_TRUE(!shape.codec || decoders.seen.reordered > 0);
  expect_kept(decoders);
}

INSTANTIATE_TEST_SUITE_P(Lanes, LateDecodersExactness,
                         ::testing::Values(Shape{1, kLz4}, Shape{2, kLz4}, Shape{3, kLz4}, Shape{8, kLz4},
                                           Shape{1, std::nullopt}, Shape{3, std::nullopt}, Shape{1, kLz4, true},
                                           Shape{3, std::nullopt, true}, Shape{1, kLz4, false, true},
                                           Shape{3, std::nullopt, true, true}),
                         [](const auto& shape) {
                           return std::string(shape.param.codec ? "Lz4On" : "AutoOn") +
                                  std::to_string(shape.param.lanes) + (shape.param.late_encoders ? "EncodedLate" : "") +
                                  (shape.param.whole_pages ? "WholePages" : "");
                         });

/// One lane whose decoders are as the test wants them.
class LateDecodersOfALane : public ::testing::Test {
 protected:
  void begin(Lateness lateness) {
    decoders_.lateness = lateness;
    lanes_.emplace(testing::ram_of_chunks(6),
                   testing::LanePairSetting{.codec = kLz4,
                                            .delta_memory = kPlenty,
                                            .decoders = &decoders_,
                                            .on_note = [this](std::string_view note) { notes_.emplace_back(note); }});
  }
  void expect_to_arrive(int rounds) {
    for (int round = 0; round < rounds; ++round) {
      testing::write_pages(*lanes_, 200, random_);
      lanes_->copy();
      ASSERT_TRUE(lanes_->here.bytes() == lanes_->there.bytes()) << "round " << round;
    }
    expect_kept(decoders_);
  }

  std::mt19937_64 random_{3};
  LateDecoders decoders_;
  std::vector<std::string> notes_;
  std::optional<LanePair> lanes_;
};

TEST_F(LateDecodersOfALane, OneThatFailsAgainAndAgainIsGivenUpForAnother) {
  begin({.refused = 0, .not_taken = 0, .failed = 100});
  expect_to_arrive(4);
  EXPECT_EQ(decoders_.seen.done, 0U);
  ASSERT_FALSE(notes_.empty());
  EXPECT_EQ(notes_.front(),
            "lane 0: a decoder of lz4 is given up: 8 blocks in a row could not be decoded, its device failed");
  decoders_.lateness = {.refused = 0, .not_taken = 0, .failed = 0};
  expect_to_arrive(8);
  EXPECT_GT(decoders_.seen.done, 0U);
}

TEST_F(LateDecodersOfALane, OneThatTakesNothingIsGivenUp) {
  begin({.refused = 0, .not_taken = 100, .another = false});
  expect_to_arrive(4);
  EXPECT_EQ(decoders_.seen.done, 0U);
  EXPECT_EQ(decoders_.seen.lent, 1U);
  ASSERT_EQ(notes_.size(), 1U);
  EXPECT_NE(notes_.front().find("a device's error at submit"), std::string::npos) << notes_.front();
}

TEST_F(LateDecodersOfALane, OneThatIsBusyAllTheTimeIsAskedAgain) {
  begin({.refused = 100});
  expect_to_arrive(4);
  EXPECT_EQ(decoders_.seen.done, 0U);
  EXPECT_TRUE(notes_.empty()) << notes_.front();
}

TEST_F(LateDecodersOfALane, OneThatDiesLosesNoBlock) {
  begin({.refused = 0, .answered = 10, .another = false, .dies_after = 20});
  expect_to_arrive(10);
  EXPECT_GT(decoders_.seen.done, 0U);
  ASSERT_EQ(notes_.size(), 1U);
  EXPECT_NE(notes_.front().find("the device is gone"), std::string::npos) << notes_.front();
}

/// What a decoder has when the lane is stopped stays its own until it is gone.
TEST(SinkLane, StopsWhileItsDecoderHasNotAnswered) {
  LateDecoders decoders({.refused = 0, .not_taken = 0, .ever_answers = false});
  testing::PlainMemory memory(testing::ram_of_chunks(20));
  FilledPages filled(20);
  InPlacePlacer placer(memory, filled, best_kernels({}));
  SinkLaneSetting setting{&placer, best_kernels({}), decoders, {1}, [](unsigned, std::uint32_t) { return Status{}; }};
  auto pair = make_channel_pair().value();
  const std::vector<std::byte> page(kPageSize, std::byte{7});
  std::vector<std::byte> wire(kPageSize);
  const auto encoder = make_encoder(kLz4).value();
  const EncodeJob job{.input = page, .output = wire};
  EncodeDone done;
  ASSERT_EQ(encoder->submit({&job, 1}).value(), 1U);
  ASSERT_EQ(encoder->poll({&done, 1}).value(), 1U);
  for (std::uint32_t c = 0; c < 3; ++c) {
    const wire::FrameHeader header{.codec = static_cast<std::uint8_t>(kLz4.id),
                                   .chunk = ChunkIndex{c},
                                   .data = 1,
                                   .payload = static_cast<std::uint32_t>(done.size),
                                   .block = kPageSize};
    ASSERT_TRUE(send_bytes(*pair.first, wire::encode(header)));
    ASSERT_TRUE(send_bytes(*pair.first, Bytes(wire).first(done.size)));
  }
  ASSERT_TRUE(send_bytes(*pair.first,
                         wire::encode(wire::FrameHeader{.type = wire::FrameType::kFence, .chunk = ChunkIndex{1}})));
  std::stop_source stop;
  auto ended = std::async(std::launch::async, [&] { return SinkLane(setting, 0, *pair.second).run(stop.get_token()); });
  stop.request_stop();
  ASSERT_EQ(ended.wait_for(std::chrono::seconds(20)), std::future_status::ready);
  const Status status = ended.get();
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().kind, ErrorKind::kCancelled);
}

/// A whole migration of a guest that writes all the time. Decoders die while it goes on.
class LateDecodersMigration : public testing::FakeMigration, public ::testing::WithParamInterface<unsigned> {
 protected:
  LateDecodersMigration() : FakeMigration(testing::ram_of_chunks(40)) { decoders_ = &late_; }

  LateDecoders late_{{.dies_after = 100}};
};

TEST_P(LateDecodersMigration, MovesEveryByteOfAWritingGuest) {
  goals_.lanes = GetParam();
  goals_.codec = kLz4;
  auto received = std::async(std::launch::async, [this] { return receive(); });
  const auto report = send(steady_);
  EXPECT_EQ(report.outcome, Outcome::kDone) << (report.error ? report.error->message : "");
  EXPECT_EQ(received.get().outcome, Outcome::kDone);
  EXPECT_TRUE(sink_.runs());
  source_.with_memory([&](auto& memory) { EXPECT_TRUE(memory.bytes() == sink_.plain().bytes()); });
  EXPECT_GE(late_.seen.lent, GetParam());
  expect_kept(late_);
}

INSTANTIATE_TEST_SUITE_P(Lanes, LateDecodersMigration, ::testing::Values(1U, 2U, 3U, 8U));

/// The operator stops a move whose decoders hang: it ends, and nobody writes to the guest's memory after that.
class HungDecodersMigration : public testing::FakeMigration {
 protected:
  HungDecodersMigration() : FakeMigration(testing::ram_of_chunks(40)) { decoders_ = &late_; }

  LateDecoders late_{{.refused = 0, .not_taken = 0, .ever_answers = false}};
};

TEST_F(HungDecodersMigration, EndsWhenTheOperatorStopsIt) {
  goals_.codec = kLz4;
  std::stop_source stop;
  auto parts = sink_parts(sink_);
  parts.cancelled = stop.get_token();
  auto received = std::async(std::launch::async, [&] { return run_sink(std::move(parts)); });
  auto sent = std::async(std::launch::async, [this] { return send(steady_); });
  while (late_.seen.lent == 0) std::this_thread::yield();
  stop.request_stop();
  ASSERT_EQ(received.wait_for(std::chrono::seconds(20)), std::future_status::ready);
  EXPECT_EQ(received.get().outcome, Outcome::kSourceRuns);
  expect_source_runs_alone(sent.get());
  expect_kept(late_);
}

}  // namespace
}  // namespace godwit::late_decoders_test
