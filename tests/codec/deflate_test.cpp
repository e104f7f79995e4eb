// Deflate between implementations: zlib with a window of 4 KiB decodes what we encode, and we decode what it encodes.
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <optional>

#include "codec/codec.h"
#include "tests/codec/blocks.h"

namespace godwit::deflate_test {
namespace {

using testing::Buffer;
using testing::Guarded;
using testing::kPage;

constexpr int kOurWindow = -12;  // raw deflate, matches from 2^12 bytes back at most
constexpr int kFullWindow = -15;

Bytef* bytef(const std::byte* bytes) {
  return const_cast<Bytef*>(reinterpret_cast<const Bytef*>(bytes));
}

/// What zlib makes of a block. With `flushes` it ends a deflate block after each page, and adds empty ones at the end.
Buffer zlib_encoded(const Buffer& block, int window, int level, int strategy, bool flushes = false) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, level, Z_DEFLATED, window, 9, strategy), Z_OK);
  Buffer wire(block.size() * 2 + 65536);
  stream.next_out = bytef(wire.data());
  stream.avail_out = static_cast<uInt>(wire.size());
  stream.next_in = bytef(block.data());
  for (std::size_t at = 0; flushes && at < block.size(); at += kPage) {
    stream.avail_in = kPage;
    EXPECT_EQ(deflate(&stream, at % (2 * kPage) == 0 ? Z_SYNC_FLUSH : Z_FULL_FLUSH), Z_OK);
  }
  stream.avail_in = flushes ? 0 : static_cast<uInt>(block.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  wire.resize(stream.total_out);
  EXPECT_EQ(deflateEnd(&stream), Z_OK);
  return wire;
}

/// What zlib reads in a block, nothing if it refuses it. It is given room for one byte at a time: so it can look back
/// no farther than its window, where it would take more in a larger buffer.
std::optional<Buffer> zlib_decoded(const Buffer& wire, std::size_t size) {
  z_stream stream{};
  EXPECT_EQ(inflateInit2(&stream, kOurWindow), Z_OK);
  Buffer block(size);
  stream.next_in = bytef(wire.data());
  stream.avail_in = static_cast<uInt>(wire.size());
  int code = Z_OK;
  while (code == Z_OK) {
    stream.next_out = bytef(block.data() + stream.total_out);
    stream.avail_out = stream.total_out < size ? 1 : 0;
    code = inflate(&stream, Z_NO_FLUSH);
  }
  const bool all = code == Z_STREAM_END && stream.total_out == size && stream.avail_in == 0;
  EXPECT_EQ(inflateEnd(&stream), Z_OK);
  return all ? std::optional(block) : std::nullopt;
}

/// Random bytes, then text, each page the same as the one `distance` pages before: what tempts to look far back.
Buffer repeating(std::size_t pages, std::size_t distance) {
  Buffer block = testing::random_bytes(distance * kPage, 1);
  const Buffer words = testing::text(kPage / 2, 2);
  for (std::size_t page = 0; page < distance; ++page) std::ranges::copy(words, block.data() + page * kPage);
  block.resize(pages * kPage);
  for (std::size_t at = distance * kPage; at < block.size(); ++at) block[at] = block[at - distance * kPage];
  return block;
}

std::vector<Buffer> blocks() {
  return {testing::text(64 * kPage, 3),
          testing::mixed(64 * kPage, 4),
          testing::zeros(3 * kPage),
          repeating(16, 1),
          repeating(16, 2),
          repeating(64, 4)};
}

bool decodes(const Buffer& wire, const Buffer& block) {
  const auto decoder = make_decoder(CodecId::kDeflate);
  Guarded out(block.size());
  const auto status = decoder.value()->decode(wire, out.room());
  EXPECT_TRUE(out.intact());
  EXPECT_TRUE(status || status.error().kind == ErrorKind::kProtocol);
  EXPECT_TRUE(!status || std::ranges::equal(out.room(), block));
  return status.has_value();
}

TEST(Deflate, ZlibWithAWindowOf4KiBDecodesEveryLevel) {
  for (int level = 1; level <= 3; ++level) {
    const auto encoder = make_encoder({CodecId::kDeflate, level}).value();
    int index = 0;
    for (const Buffer& block : blocks()) {
      SCOPED_TRACE(fmt::format("level {}, block {}", level, index++));
      Buffer wire(block.size());
      const EncodeJob job{.ticket = 1, .input = block, .output = wire};
      EncodeDone done;
      ASSERT_EQ(encoder->submit({&job, 1}).value(), 1u);
      ASSERT_EQ(encoder->collect({&done, 1}, {}).value(), 1u);
      ASSERT_GT(done.size, 0u);
      wire.resize(done.size);
      const auto back = zlib_decoded(wire, block.size());
      ASSERT_TRUE(back);
      EXPECT_EQ(*back, block);
    }
  }
}

TEST(Deflate, TheReferenceSeesALongerWindow) {
  const Buffer block = repeating(16, 2);
  EXPECT_FALSE(zlib_decoded(zlib_encoded(block, kFullWindow, 6, Z_DEFAULT_STRATEGY), block.size()));
  EXPECT_TRUE(zlib_decoded(zlib_encoded(block, kOurWindow, 6, Z_DEFAULT_STRATEGY), block.size()));
}

TEST(Deflate, DecodesWhatOthersEncode) {
  for (const int strategy : {Z_DEFAULT_STRATEGY, Z_FIXED, Z_HUFFMAN_ONLY, Z_RLE}) {
    for (const int level : {0, 1, 6, 9}) {
      for (const bool flushes : {false, true}) {
        int index = 0;
        for (const Buffer& block : blocks()) {
          const Buffer wire = zlib_encoded(block, kOurWindow, level, strategy, flushes);
          if (wire.size() > 64 * kPage) continue;  // stored: such a block travels raw
          EXPECT_TRUE(decodes(wire, block))
              << "strategy " << strategy << ", level " << level << ", flushes " << flushes << ", block " << index;
          ++index;
        }
      }
    }
  }
}

TEST(Deflate, RefusesMatchesFromFartherBack) {
  for (const std::size_t distance : {std::size_t{2}, std::size_t{4}}) {
    const Buffer block = repeating(64, distance);
    EXPECT_FALSE(decodes(zlib_encoded(block, kFullWindow, 6, Z_DEFAULT_STRATEGY), block)) << distance;
    // ISA-L does not look at the distance where the Huffman codes are the fixed ones; then what it gives is right.
    decodes(zlib_encoded(block, kFullWindow, 6, Z_FIXED), block);
  }
}

TEST(Deflate, RefusesMatchesFromBeforeTheBlock) {
  // The second half of a stream, which leans on the first.
  const Buffer words = testing::text(2 * kPage, 5);
  const Buffer first = zlib_encoded(Buffer(words.begin(), words.begin() + kPage), kOurWindow, 9, Z_DEFAULT_STRATEGY);
  z_stream stream{};
  ASSERT_EQ(deflateInit2(&stream, 9, Z_DEFLATED, kOurWindow, 9, Z_DEFAULT_STRATEGY), Z_OK);
  ASSERT_EQ(deflateSetDictionary(&stream, bytef(words.data()), kPage), Z_OK);
  Buffer wire(kPage);
  stream.next_in = bytef(words.data() + kPage);
  stream.avail_in = kPage;
  stream.next_out = bytef(wire.data());
  stream.avail_out = kPage;
  ASSERT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  wire.resize(stream.total_out);
  ASSERT_EQ(deflateEnd(&stream), Z_OK);
  EXPECT_FALSE(decodes(wire, Buffer(words.begin() + kPage, words.end())));
  EXPECT_TRUE(decodes(first, Buffer(words.begin(), words.begin() + kPage)));
}

TEST(Deflate, RefusesOtherWrappers) {
  const Buffer block = testing::text(kPage, 6);
  constexpr int kZlibWrapper = 12;
  constexpr int kGzipWrapper = 12 + 16;
  for (const int window : {kZlibWrapper, kGzipWrapper}) {
    EXPECT_FALSE(decodes(zlib_encoded(block, window, 6, Z_DEFAULT_STRATEGY), block)) << window;
  }
}

}  // namespace
}  // namespace godwit::deflate_test
