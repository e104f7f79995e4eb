// What a sink lane refuses: a source that lies about what it has sent, or sends what does not fit.
#include "engine/sink_lane.h"

#include <gtest/gtest.h>

#include <array>

#include "engine/fence.h"
#include "engine/in_place_placer.h"
#include "host/host_profile.h"
#include "tests/support/late_decoders.h"
#include "tests/support/plain_memory.h"

namespace godwit::sink_lane_test {
namespace {

/// Sink lane 0 of 2, so the even chunks are its own. Behind a block that is decoded late, or alone.
class SinkLaneRefuses : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    auto pair = make_channel_pair();
    source_ = std::move(pair->first);
    sink_ = std::move(pair->second);
    if (GetParam()) send_encoded({.chunk = ChunkIndex{0}, .data = 1}, std::vector<std::byte>(kPageSize, std::byte{7}));
  }
  void send_encoded(wire::FrameHeader header, Bytes block, CodecId codec = CodecId::kLz4) {
    std::vector<std::byte> encoded(block.size());
    const auto encoder = make_encoder({codec, 1}).value();
    const EncodeJob job{0, block, encoded};
    EncodeDone done;
    ASSERT_TRUE(encoder->submit({&job, 1}));
    ASSERT_TRUE(encoder->collect({&done, 1}, {}));
    header.codec = static_cast<std::uint8_t>(codec);
    if (header.block == 0) header.block = static_cast<std::uint32_t>(block.size());
    send(header, Bytes(encoded).first(done.size));
  }
  Status run() {
    DecoderProvider& decoders = GetParam() ? static_cast<DecoderProvider&>(late_) : none_;
    SinkLaneSetting setting{
        &placer_, best_kernels({}), decoders, {2}, [](unsigned, std::uint32_t) { return Status{}; }};
    return SinkLane(setting, 0, *sink_).run();
  }
  void send(wire::FrameHeader header, Bytes payload) {
    header.payload = static_cast<std::uint32_t>(payload.size());
    if (header.block == 0) header.block = header.payload;
    ASSERT_TRUE(send_bytes(*source_, wire::encode(header)));
    ASSERT_TRUE(send_bytes(*source_, payload));
  }
  void send_page(ChunkIndex chunk, unsigned page) {
    send({.chunk = chunk, .data = PageWord{1} << page}, std::vector<std::byte>(kPageSize, std::byte{7}));
  }
  void fence(std::uint32_t number) {
    ASSERT_TRUE(send_bytes(
        *source_, wire::encode(wire::FrameHeader{.type = wire::FrameType::kFence, .chunk = ChunkIndex{number}})));
  }
  static Bytes delta_of_one_sub_block() {
    static const std::vector<std::byte> tail = [] {
      std::vector<std::byte> bytes(2 + kSubBlockSize);
      bytes[0] = std::byte{1};
      return bytes;
    }();
    return tail;
  }
  static std::array<std::byte, 8> reference(std::uint8_t chunk, std::uint8_t page) {
    std::array<std::byte, 8> bytes{};
    bytes[0] = std::byte{chunk};
    bytes[4] = std::byte{page};
    return bytes;
  }
  /// A copy of which the first sub-block is another.
  static std::vector<std::byte> fixed_copy(std::uint8_t chunk, std::uint8_t page) {
    const auto head = reference(chunk, page);
    std::vector<std::byte> tail(head.begin(), head.end());
    tail.insert(tail.end(), delta_of_one_sub_block().begin(), delta_of_one_sub_block().end());
    return tail;
  }
  void expect_refused(std::string_view why) {
    fence(1);  // at the latest there all is applied
    ASSERT_TRUE(source_->shut_down());
    const Status status = run();
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().kind, ErrorKind::kProtocol);
    EXPECT_NE(status.error().message.find(why), std::string::npos) << status.error().message;
  }
  void expect_applied() {
    fence(kLastFence);
    const Status status = run();
    EXPECT_TRUE(status) << status.error().message;
  }

  testing::PlainMemory memory_{RamLayout::make({{.name = "ram0", .size = 5 * kChunkSize}}).value()};
  FilledPages filled_{5};
  NoLateDecoders none_;
  /// One that answers only when it is waited for: all that follows its first block comes into the ring.
  testing::LateDecoders late_{{.refused = 0, .not_taken = 0, .failed = 0, .answered = 0}};
  InPlacePlacer placer_{memory_, filled_, best_kernels({})};
  std::unique_ptr<Channel> source_, sink_;
};

TEST_P(SinkLaneRefuses, ChangesOfAPageThatWasNeverSent) {
  send_page(ChunkIndex{2}, 0);
  send({.chunk = ChunkIndex{2}, .delta = 2}, delta_of_one_sub_block());
  expect_refused("changes of page 1 of chunk 2, which it never sent");
}

TEST_P(SinkLaneRefuses, ChangesOfAPageThatIsZeroNow) {
  send_page(ChunkIndex{2}, 0);
  send({.chunk = ChunkIndex{2}, .zero = 1}, {});
  send({.chunk = ChunkIndex{2}, .delta = 1}, delta_of_one_sub_block());
  expect_refused("changes of page 0 of chunk 2, which it never sent");
}

TEST_P(SinkLaneRefuses, ChangesWhileDevicesLoad) {
  send_page(ChunkIndex{2}, 0);
  fence(kDevicesFence);
  send({.chunk = ChunkIndex{2}, .delta = 1}, delta_of_one_sub_block());
  expect_refused("while devices may write to it");
}

TEST_P(SinkLaneRefuses, ACopyOfAPageThatWasNeverSent) {
  send({.chunk = ChunkIndex{2}, .copies = 1}, reference(4, 3));
  expect_refused("a copy of page 3 of chunk 4, which lane 0 never sent");
}

TEST_P(SinkLaneRefuses, ACopyOfAnotherLanesPage) {
  filled_.add_received(ChunkIndex{1}, kAllPages);
  send({.chunk = ChunkIndex{2}, .copies = 1}, reference(1, 3));
  expect_refused("a copy of page 3 of chunk 1, which lane 0 never sent");
}

TEST_P(SinkLaneRefuses, ACopyFromPastTheEndOfRam) {
  send({.chunk = ChunkIndex{2}, .copies = 1}, reference(200, 3));
  expect_refused("a copy of page 3 of chunk 200");
}

TEST_P(SinkLaneRefuses, ACopyWithChangesOfAPageThatWasNeverSent) {
  send({.chunk = ChunkIndex{2}, .copies = 1, .delta = 1}, fixed_copy(4, 3));
  expect_refused("a copy of page 3 of chunk 4, which lane 0 never sent");
}

TEST_P(SinkLaneRefuses, ACopyWithinOneChunk) {
  send_page(ChunkIndex{2}, 3);
  send({.chunk = ChunkIndex{2}, .copies = 1}, reference(2, 3));
  expect_refused("the same frame's chunk");
}

TEST_P(SinkLaneRefuses, AMaskThatDoesNotFitItsSubBlocks) {
  send_page(ChunkIndex{2}, 0);
  auto tail = std::vector<std::byte>(delta_of_one_sub_block().begin(), delta_of_one_sub_block().end());
  tail[0] = std::byte{3};
  send({.chunk = ChunkIndex{2}, .delta = 1}, tail);
  expect_refused("256 bytes of sub-blocks where its masks name 512");
}

TEST_P(SinkLaneRefuses, AChunkOutOfRange) {
  send_page(ChunkIndex{6}, 0);
  expect_refused("chunk 6 of a guest that has 5");
}

TEST_P(SinkLaneRefuses, AChunkOfAnotherLane) {
  send_page(ChunkIndex{3}, 0);
  expect_refused("chunk 3 on lane 0 of 2");
}

TEST_P(SinkLaneRefuses, ABlockOfAnotherLengthThanAnnounced) {
  send_encoded({.chunk = ChunkIndex{2}, .data = 1, .block = kPageSize}, std::vector<std::byte>(2 * kPageSize),
               CodecId::kZstd);
  expect_refused("zstd");
}

TEST_P(SinkLaneRefuses, ACodecThatThisVersionDoesNotKnow) {
  send({.codec = 99, .chunk = ChunkIndex{2}, .data = 1, .block = kPageSize}, Bytes(std::vector<std::byte>(100)));
  expect_refused("no codec has the number 99");
}

TEST_P(SinkLaneRefuses, NothingOfWhatALaneMaySend) {
  send_page(ChunkIndex{2}, 0);
  send_page(ChunkIndex{4}, 9);
  send({.chunk = ChunkIndex{2}, .delta = 1}, delta_of_one_sub_block());
  send({.chunk = ChunkIndex{2}, .copies = 2}, reference(4, 9));
  send({.chunk = ChunkIndex{2}, .copies = 4, .delta = 4}, fixed_copy(4, 9));
  fence(kDevicesFence);
  send({.chunk = ChunkIndex{2}, .zero = 1}, {});
  expect_applied();
  EXPECT_EQ(memory_.at(ChunkIndex{2}, 1)[100], std::byte{7});
  EXPECT_EQ(memory_.at(ChunkIndex{2}, 2)[100], std::byte{0});
  EXPECT_EQ(memory_.at(ChunkIndex{2}, 2)[1000], std::byte{7});
  EXPECT_EQ(memory_.at(ChunkIndex{2}, 0)[1000], std::byte{0});
  EXPECT_TRUE(!GetParam() || memory_.at(ChunkIndex{0}, 0)[1000] == std::byte{7});
}

/// A newer version of a page is not seen by those who copied the older one, however early it is decoded.
TEST_P(SinkLaneRefuses, NoCopyOfAPageThatIsSentAgain) {
  const std::vector<std::byte> newer(kPageSize, std::byte{8});
  send_page(ChunkIndex{4}, 9);
  fence(1);
  send_encoded({.chunk = ChunkIndex{0}, .data = 1}, newer);
  send({.chunk = ChunkIndex{2}, .copies = 2}, reference(4, 9));
  send_encoded({.chunk = ChunkIndex{4}, .data = PageWord{1} << 9}, newer);
  expect_applied();
  EXPECT_EQ(memory_.at(ChunkIndex{2}, 1)[100], std::byte{7});
  EXPECT_EQ(memory_.at(ChunkIndex{4}, 9)[100], std::byte{8});
}

INSTANTIATE_TEST_SUITE_P(Decoders, SinkLaneRefuses, ::testing::Bool(),
                         [](const auto& late) { return std::string(late.param ? "BehindALateOne" : "AtOnce"); });

}  // namespace
}  // namespace godwit::sink_lane_test
