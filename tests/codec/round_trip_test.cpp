// The conformance suite of encoders and decoders: the contract, round trips, and input that nobody should trust.
#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "codec/codec.h"
#include "tests/codec/blocks.h"
#include "tests/codec/encoder_contract.h"
#include "tests/support/late_encoders.h"

namespace godwit::round_trip_test {
namespace {

using testing::Buffer;
using testing::expect_contract;
using testing::Guarded;
using testing::kPage;

/// Every codec that encodes, with its lowest level, its highest, and some in between that differ.
std::vector<CodecChoice> every_choice() {
  std::vector<CodecChoice> choices;
  for (const CodecInfo& codec : codecs()) {
    if (codec.id == CodecId::kRaw) continue;
    for (const int level : std::set{codec.lowest, -1, 1, 2, 3, codec.highest}) {
      if (codec.has_level(level)) choices.push_back({codec.id, level});
    }
  }
  return choices;
}

CodecChoice highest_of(CodecId id) {
  const auto codec = std::ranges::find(codecs(), id, &CodecInfo::id);
  return {id, codec->highest};
}

std::string name_of_test(const CodecChoice& choice) {
  std::string name = format_codec(choice);
  std::ranges::replace(name, ':', '_');
  std::ranges::replace(name, '-', 'm');
  return name;
}

class RoundTripTest : public ::testing::TestWithParam<CodecChoice> {
 protected:
  void SetUp() override {
    choice_ = GetParam();
    auto encoder = make_encoder(choice_);
    ASSERT_TRUE(encoder) << encoder.error().message;
    encoder_ = std::move(*encoder);
    auto decoder = make_decoder(choice_.id);
    ASSERT_TRUE(decoder) << decoder.error().message;
    decoder_ = std::move(*decoder);
  }

  /// The block on the wire, raw if it could not be made smaller: then nothing.
  std::optional<Buffer> encode(const Buffer& block) {
    Guarded output(block.size());
    const EncodeJob job{.ticket = ++ticket_, .input = block, .output = output.room()};
    EXPECT_EQ(encoder_->submit({&job, 1}).value_or(99), 1u);
    EncodeDone done;
    EXPECT_EQ(encoder_->collect({&done, 1}, {}).value_or(99), 1u);
    EXPECT_EQ(done.ticket, ticket_);
    EXPECT_TRUE(output.intact()) << "the encoder wrote beyond the input's length";
    EXPECT_LT(done.size, std::max<std::size_t>(block.size(), 1));
    if (done.size == 0) return std::nullopt;
    const Bytes bytes = output.room().first(done.size);
    return Buffer(bytes.begin(), bytes.end());
  }

  void expect_back(const Buffer& wire, const Buffer& block) {
    Guarded out(block.size());
    const auto status = decoder_->decode(wire, out.room());
    ASSERT_TRUE(status) << status.error().message;
    EXPECT_TRUE(out.intact());
    EXPECT_TRUE(std::ranges::equal(out.room(), block));
  }

  /// Whatever the input: an error of the protocol, or all of the output filled; and nothing beyond it touched.
  /// Gives whether it was taken.
  bool try_decoding(Bytes wire, std::size_t length) {
    // A copy of its own, so that a sanitizer sees a read beyond the end.
    const Buffer exact(wire.begin(), wire.end());
    Guarded out(length);
    const auto status = decoder_->decode(exact, out.room());
    EXPECT_TRUE(out.intact());
    EXPECT_TRUE(status || status.error().kind == ErrorKind::kProtocol);
    return status.has_value();
  }

  CodecChoice choice_;
  std::unique_ptr<Encoder> encoder_;
  std::unique_ptr<Decoder> decoder_;
  std::uint64_t ticket_ = 1000;
};

TEST_P(RoundTripTest, GivesEveryBlockBack) {
  for (const std::size_t pages : {1u, 2u, 3u, 7u, 16u, 31u, 32u, 63u, 64u}) {
    const std::size_t size = pages * kPage;
    int raw = 0;
    for (const Buffer& block : {testing::zeros(size), testing::text(size, pages), testing::mixed(size, pages)}) {
      const auto wire = encode(block);
      if (wire) {
        expect_back(*wire, block);
      } else {
        ++raw;
      }
    }
    // Only the mixed block may come out as one random page.
    EXPECT_LE(raw, pages < 4 ? 1 : 0) << pages << " pages";
    EXPECT_FALSE(encode(testing::random_bytes(size, pages))) << pages << " pages";
  }
}

TEST_P(RoundTripTest, EveryNumberOfPages) {
  // Most codecs are slow at their highest level, which takes every ninth.
  const std::size_t step = choice_ == highest_of(choice_.id) ? 9 : 1;
  for (std::size_t pages = 1; pages <= 64; pages += step) {
    const Buffer block = testing::mixed(pages * kPage, 100 + pages);
    if (const auto wire = encode(block)) expect_back(*wire, block);
  }
}

TEST_P(RoundTripTest, BlocksAreStateless) {
  const Buffer first = testing::text(8 * kPage, 1);
  const Buffer second = testing::mixed(8 * kPage, 2);
  const auto before = encode(second);
  const auto between = encode(first);
  const auto after = encode(second);
  ASSERT_TRUE(before && between && after);
  EXPECT_EQ(*before, *after);
  expect_back(*after, second);
  expect_back(*between, first);
}

TEST_P(RoundTripTest, KeepsTheContractOfJobs) {
  expect_contract(*encoder_, choice_.id);
}

/// The contract is also one that encoders with many jobs under way can keep.
TEST_P(RoundTripTest, KeepsTheContractOfJobsAsADeviceWould) {
  for (const std::size_t depth : {1u, 2u, 8u}) {
    SCOPED_TRACE(depth);
    const testing::Lateness late{.depth = depth, .refused = 0, .not_taken = 0, .failed = 0, .counted = false};
    testing::LateEncoders encoders(late);
    auto encoder = encoders.lend(choice_, 0);
    ASSERT_TRUE(encoder) << encoder.error().message;
    expect_contract(**encoder, choice_.id);
  }
}

TEST_P(RoundTripTest, RefusesJobsThatBreakTheContract) {
  const Buffer block = testing::text(65 * kPage, 1);
  Guarded output(65 * kPage);
  const EncodeJob short_output{
      .ticket = 1, .input = Bytes(block).first(kPage), .output = output.room().first(kPage - 1)};
  const EncodeJob long_input{.ticket = 2, .input = block, .output = output.room()};
  for (const auto& job : {short_output, long_input}) {
    const auto taken = encoder_->submit({&job, 1});
    ASSERT_FALSE(taken);
    EXPECT_EQ(taken.error().kind, ErrorKind::kInvalidArgument);
  }
  const EncodeJob empty{.ticket = 3, .input = {}, .output = {}};
  EncodeDone done{.ticket = 0, .size = 9};
  EXPECT_EQ(encoder_->submit({&empty, 1}).value_or(99), 1u);
  EXPECT_EQ(encoder_->collect({&done, 1}, {}).value_or(99), 1u);
  EXPECT_EQ(done.size, 0u);
}

TEST_P(RoundTripTest, TruncatedBlocksAreRefused) {
  const Buffer block = testing::mixed(4 * kPage, 5);
  const auto wire = encode(block);
  ASSERT_TRUE(wire);
  for (std::size_t length = 0; length < wire->size(); length += length < 64 ? 1 : 37) {
    EXPECT_FALSE(try_decoding(Bytes(*wire).first(length), block.size())) << length << " of " << wire->size();
  }
}

TEST_P(RoundTripTest, ExtendedBlocksAreRefused) {
  const Buffer block = testing::mixed(4 * kPage, 5);
  const auto wire = encode(block);
  ASSERT_TRUE(wire);
  for (const std::size_t more : {1u, 4u, 100u, 5000u}) {
    Buffer longer = *wire;
    longer.insert(longer.end(), more, std::byte{0});
    EXPECT_FALSE(try_decoding(longer, block.size())) << more;
  }
  Buffer twice = *wire;
  twice.insert(twice.end(), wire->begin(), wire->end());
  EXPECT_FALSE(try_decoding(twice, block.size()));
  EXPECT_FALSE(try_decoding(twice, 2 * block.size()));
}

TEST_P(RoundTripTest, AnotherLengthThanAnnouncedIsRefused) {
  const Buffer block = testing::mixed(4 * kPage, 5);
  const auto wire = encode(block);
  ASSERT_TRUE(wire);
  for (const std::size_t length : {std::size_t{0}, kPage, 3 * kPage, block.size() - 1, block.size() + 1, 64 * kPage}) {
    EXPECT_FALSE(try_decoding(*wire, length)) << length;
  }
  EXPECT_FALSE(try_decoding(*wire, 65 * kPage));
  expect_back(*wire, block);  // an error before leaves nothing behind
}

TEST_P(RoundTripTest, DamagedBlocksNeverReachOutOfBounds) {
  std::mt19937_64 random(3);
  int refused = 0;
  for (const std::size_t pages : {1u, 5u}) {
    const Buffer block = testing::mixed(pages * kPage, 6 + pages);
    const auto wire = encode(block);
    if (!wire) continue;
    for (int round = 0; round < 600; ++round) {
      Buffer damaged = *wire;
      for (auto flips = 1 + random() % 8; flips > 0; --flips) {
        // Half of them in the first bytes, where the headers and tables are.
        const std::size_t at = random() % (round % 2 == 0 ? damaged.size() : std::min<std::size_t>(damaged.size(), 64));
        damaged[at] ^= static_cast<std::byte>(1u << random() % 8);
      }
      refused += try_decoding(damaged, block.size()) ? 0 : 1;
    }
  }
  EXPECT_GT(refused, 0);
}

TEST_P(RoundTripTest, NoiseIsRefusedOrFillsExactly) {
  for (std::uint64_t seed = 0; seed < 600; ++seed) {
    Buffer noise = testing::random_bytes(seed % 97 + seed % 7 * 300, seed);
    // The magic number of zstd first in some, so that they come further; the longest that a frame may be.
    if (seed % 2 == 0 && noise.size() > 4) std::memcpy(noise.data(), "\x28\xb5\x2f\xfd", 4);
    try_decoding(noise, seed % 3 * kPage + 1);
  }
  EXPECT_FALSE(try_decoding({}, kPage));
  EXPECT_FALSE(try_decoding(testing::random_bytes(300'000, 1), 64 * kPage));
}

INSTANTIATE_TEST_SUITE_P(Codecs, RoundTripTest, ::testing::ValuesIn(every_choice()),
                         [](const auto& codec) { return name_of_test(codec.param); });

TEST(RawDecoder, FillsExactlyOrRefuses) {
  const auto decoder = make_decoder(CodecId::kRaw);
  ASSERT_TRUE(decoder);
  const Buffer block = testing::mixed(2 * kPage, 1);
  Guarded out(block.size());
  EXPECT_TRUE((*decoder)->decode(block, out.room()));
  EXPECT_TRUE(std::ranges::equal(out.room(), block));
  for (const std::size_t length : {std::size_t{0}, kPage, block.size() - 1}) {
    const auto status = (*decoder)->decode(Bytes(block).first(length), out.room());
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().kind, ErrorKind::kProtocol);
  }
  EXPECT_FALSE((*decoder)->decode(block, out.room().first(kPage)));
  EXPECT_TRUE(out.intact());
}

TEST(ZstdDecoder, TakesOneOrdinaryFrameOnly) {
  const auto decoder = make_decoder(CodecId::kZstd);
  ASSERT_TRUE(decoder);
  // A frame to skip, one of an early version, and an empty one, which the library would all take.
  const std::vector<std::vector<int>> frames = {{0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0},
                                                {0x27, 0xb5, 0x2f, 0xfd, 0x00, 0x01, 0x00, 0x00},
                                                {0x28, 0xb5, 0x2f, 0xfd, 0x20, 0x00, 0x01, 0x00, 0x00}};
  for (const auto& frame : frames) {
    Buffer wire;
    for (const int byte : frame) wire.push_back(static_cast<std::byte>(byte));
    Buffer out(kPage);
    const auto status = (*decoder)->decode(wire, out);
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().kind, ErrorKind::kProtocol);
  }
}

}  // namespace
}  // namespace godwit::round_trip_test
