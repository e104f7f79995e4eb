// Codecs by name and number.
#include "codec/codec.h"

#include <gtest/gtest.h>

namespace godwit::codec_test {
namespace {

TEST(Codec, ReadsAndWritesItsNames) {
  const std::pair<const char*, CodecChoice> cases[] = {
      {"raw", {CodecId::kRaw, 1}},           {"lz4", {CodecId::kLz4, 1}},           {"lz4:16", {CodecId::kLz4, 16}},
      {"lz4:64", {CodecId::kLz4, 64}},       {"zstd", {CodecId::kZstd, 1}},         {"zstd:3", {CodecId::kZstd, 3}},
      {"zstd:-7", {CodecId::kZstd, -7}},     {"zstd:19", {CodecId::kZstd, 19}},     {"deflate", {CodecId::kDeflate, 1}},
      {"deflate:1", {CodecId::kDeflate, 1}}, {"deflate:3", {CodecId::kDeflate, 3}},
  };
  for (const auto& [text, choice] : cases) {
    const auto parsed = parse_codec(text);
    ASSERT_TRUE(parsed) << text;
    EXPECT_EQ(*parsed, choice) << text;
    const auto again = parse_codec(format_codec(choice));
    ASSERT_TRUE(again) << format_codec(choice);
    EXPECT_EQ(*again, choice);
  }
  EXPECT_EQ(format_codec({CodecId::kRaw, 0}), "raw");
  EXPECT_EQ(format_codec({CodecId::kLz4, 16}), "lz4:16");
  EXPECT_EQ(*parse_codec("zstd"), CodecChoice{});
}

TEST(Codec, RefusesOtherTextsAndNamesThem) {
  for (const char* text :
       {"",       "gzip",   "raw:1", "raw:",      "lz4:",      "lz4:0",    "lz4:65",           "lz4:-1",
        "lz4:1x", "lz4: 1", "LZ4",   "zstd:0",    "zstd:20",   "zstd:-8",  "zstd:99999999999", "zstd:3:4",
        ":",      ":3",     "lz4 ",  "deflate:0", "deflate:4", "deflate:", "deflated"}) {
    const auto parsed = parse_codec(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().kind, ErrorKind::kInvalidArgument);
    EXPECT_NE(parsed.error().message.find('"' + std::string(text) + '"'), std::string::npos) << parsed.error().message;
    EXPECT_NE(parsed.error().message.find("zstd:LEVEL"), std::string::npos) << parsed.error().message;
  }
}

TEST(Codec, NamesAreThoseOfTheWire) {
  EXPECT_EQ(name_of(CodecId::kRaw), "raw");
  EXPECT_EQ(name_of(CodecId::kLz4), "lz4");
  EXPECT_EQ(name_of(CodecId::kZstd), "zstd");
  EXPECT_EQ(name_of(CodecId::kDeflate), "deflate");
  EXPECT_EQ(name_of(static_cast<CodecId>(200)), "unknown");
}

TEST(Codec, RawHasNoEncoder) {
  for (const int level : {0, 1}) {
    const auto encoder = make_encoder({CodecId::kRaw, level});
    ASSERT_TRUE(encoder);
    EXPECT_EQ(*encoder, nullptr);
  }
}

TEST(Codec, RefusesWhatItDoesNotKnow) {
  const CodecChoice choices[] = {{CodecId::kLz4, 0},     {CodecId::kLz4, 65},         {CodecId::kZstd, 0},
                                 {CodecId::kZstd, 20},   {CodecId::kZstd, -8},        {CodecId::kDeflate, 0},
                                 {CodecId::kDeflate, 4}, {static_cast<CodecId>(4), 1}};
  for (const CodecChoice& choice : choices) {
    const auto encoder = make_encoder(choice);
    ASSERT_FALSE(encoder) << format_codec(choice);
    EXPECT_EQ(encoder.error().kind, ErrorKind::kInvalidArgument);
  }
  for (unsigned number = 4; number < 256; ++number) {
    const auto decoder = make_decoder(static_cast<CodecId>(number));
    ASSERT_FALSE(decoder) << number;
    EXPECT_EQ(decoder.error().kind, ErrorKind::kProtocol);
  }
}

}  // namespace
}  // namespace godwit::codec_test
