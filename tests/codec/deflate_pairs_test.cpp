// Every producer of deflate against every consumer: ISA-L, zlib, and the backends of QAT and IAA with models of devices
// behind them. The model of QAT looks 32 KiB back within a request, that of IAA reads no match from beyond 4 KiB.
#include <gtest/gtest.h>
#include <zlib.h>

#include <functional>

#include "tests/codec/blocks.h"
#include "tests/support/model_accelerator.h"

namespace godwit::deflate_pairs_test {
namespace {

using testing::Buffer;
using testing::kPage;
using testing::ModelOfDevice;

constexpr int kWindow = -12;  // raw, 4 KiB

Bytef* zlib_bytes(const std::byte* bytes) {
  return const_cast<Bytef*>(reinterpret_cast<const Bytef*>(bytes));
}

struct Producer {
  std::string name;
  std::function<Buffer(const Buffer&)> encode;  ///< empty: not smaller
};
struct Consumer {
  std::string name;
  std::function<Buffer(const Buffer&, std::size_t)> decode;  ///< empty: refused
};

Buffer encoded_by_zlib(const Buffer& block) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, kWindow, 9, Z_DEFAULT_STRATEGY), Z_OK);
  Buffer wire(block.size() * 2 + 1024);
  stream.next_in = zlib_bytes(block.data());
  stream.avail_in = static_cast<uInt>(block.size());
  stream.next_out = zlib_bytes(wire.data());
  stream.avail_out = static_cast<uInt>(wire.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  wire.resize(stream.total_out < block.size() ? stream.total_out : 0);
  EXPECT_EQ(deflateEnd(&stream), Z_OK);
  return wire;
}

Buffer decoded_by_zlib(const Buffer& wire, std::size_t size) {
  z_stream stream{};
  EXPECT_EQ(inflateInit2(&stream, kWindow), Z_OK);
  Buffer block(size);
  stream.next_in = zlib_bytes(wire.data());
  stream.avail_in = static_cast<uInt>(wire.size());
  stream.next_out = zlib_bytes(block.data());
  stream.avail_out = static_cast<uInt>(size);
  const bool all = inflate(&stream, Z_FINISH) == Z_STREAM_END && stream.total_out == size;
  EXPECT_EQ(inflateEnd(&stream), Z_OK);
  return all ? block : Buffer{};
}

Buffer encoded_here(const Buffer& block) {
  const auto encoder = make_encoder({CodecId::kDeflate, 1}).value();
  Buffer wire(block.size());
  const EncodeJob job{.ticket = 1, .input = block, .output = wire};
  EncodeDone done;
  EXPECT_EQ(encoder->submit({&job, 1}).value(), 1U);
  EXPECT_EQ(encoder->collect({&done, 1}, {}).value(), 1U);
  wire.resize(done.size);
  return wire;
}

Buffer decoded_here(const Buffer& wire, std::size_t size) {
  Buffer block(size);
  return make_decoder(CodecId::kDeflate).value()->decode(wire, block) ? block : Buffer{};
}

Buffer by_device(DeviceQueue& queue, const Buffer& input, std::size_t room, bool decodes) {
  Buffer output(room);
  const DeviceJob job{.ticket = 1, .input = input, .output = output, .decodes = decodes};
  DeviceDone done;
  EXPECT_EQ(queue.submit({&job, 1}).value(), 1U);
  EXPECT_EQ(queue.collect({&done, 1}, {}).value(), 1U);
  output.resize(done.failed ? 0 : done.size);
  return output;
}

TEST(DeflatePairs, EveryConsumerReadsWhatEveryProducerWrites) {
  const ModelOfDevice qat_model(CodecDevice::kQat);
  const ModelOfDevice iaa_model(CodecDevice::kIaa);
  const auto patience = std::chrono::seconds(60);
  const auto qat = qat_model.open(patience).value();
  const auto iaa = iaa_model.open(patience).value();
  const auto qat_decoder = qat_model.open(patience, true).value();
  const auto qat_in = qat->queue().value();
  const auto iaa_both = iaa->queue().value();
  const auto qat_out = qat_decoder->queue().value();
  const std::vector<Producer> producers = {
      {"ISA-L", encoded_here},
      {"zlib", encoded_by_zlib},
      {"QAT", [&](const Buffer& block) { return by_device(*qat_in, block, block.size(), false); }},
      {"IAA", [&](const Buffer& block) { return by_device(*iaa_both, block, block.size(), false); }}};
  const std::vector<Consumer> consumers = {
      {"ISA-L", decoded_here},
      {"zlib", decoded_by_zlib},
      {"QAT", [&](const Buffer& wire, std::size_t size) { return by_device(*qat_out, wire, size, true); }},
      {"IAA", [&](const Buffer& wire, std::size_t size) { return by_device(*iaa_both, wire, size, true); }}};
  // The last repeats at a distance of 8 KiB: who looks that far back is found out.
  Buffer far = testing::random_bytes(2 * kPage, 9);
  for (int times = 0; times < 5; ++times) far.insert(far.end(), far.begin(), far.begin() + 2 * kPage);
  const Buffer words = testing::text(8 * kPage, 4);
  far.insert(far.end(), words.begin(), words.end());
  const std::vector<Buffer> blocks = {testing::text(64 * kPage, 1),     testing::mixed(64 * kPage, 2),
                                      testing::mixed(31 * kPage, 3),    testing::zeros(5 * kPage),
                                      testing::text(3 * kPage + 77, 5), far};
  for (const Producer& producer : producers) {
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      const Buffer wire = producer.encode(blocks[i]);
      ASSERT_FALSE(wire.empty()) << producer.name << ", block " << i;
      for (const Consumer& consumer : consumers) {
        // What QATzip refuses, the sink leaves to the library.
        if (std::string_view(consumer.name) == "QAT" && wire.size() < kLeastToDecode) continue;
        EXPECT_TRUE(consumer.decode(wire, blocks[i].size()) == blocks[i])
            << producer.name << " to " << consumer.name << ", block " << i;
      }
    }
  }
}

}  // namespace
}  // namespace godwit::deflate_pairs_test
