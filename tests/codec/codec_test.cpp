// Codecs by name and number.
#include "codec/codec.h"

#include <gtest/gtest.h>

#include <set>

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
  for (const CodecDevice device : {CodecDevice::kQat, CodecDevice::kIaa}) {
    const CodecChoice choice{.id = CodecId::kDeflate, .level = 1, .device = device};
    EXPECT_EQ(*parse_codec(format_codec(choice)), choice);
    EXPECT_EQ(make_encoder(choice).value()->id(), CodecId::kDeflate) << "without the device, the CPU";
  }
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
    EXPECT_NE(parsed.error().message.find("there are raw, lz4, lz4:ACCELERATION (1 to 64), zstd, "
                                          "zstd:LEVEL (-7 to 19, but not 0), deflate, deflate:LEVEL (1 to 3)"),
              std::string::npos)
        << parsed.error().message;
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

TEST(Codec, EachHasANameAndANumberOfItsOwnAndBothMakers) {
  std::set<CodecId> ids;
  std::set<std::string_view> names;
  for (const CodecInfo& codec : codecs()) {
    SCOPED_TRACE(codec.name);
    EXPECT_TRUE(ids.insert(codec.id).second);
    EXPECT_TRUE(names.insert(codec.name).second);
    EXPECT_EQ(name_of(codec.id), codec.name);
    EXPECT_TRUE(make_decoder(codec.id));
    for (const int level : {codec.lowest, codec.highest}) {
      const auto encoder = make_encoder({codec.id, level});
      ASSERT_TRUE(encoder) << encoder.error().message;
      EXPECT_EQ(*encoder == nullptr, codec.id == CodecId::kRaw);
    }
  }
}

TEST(Codec, EachIsReadByItsNameWithEachOfItsLevelsAndNoOther) {
  for (const CodecInfo& codec : codecs()) {
    SCOPED_TRACE(codec.name);
    const std::string name(codec.name);
    ASSERT_TRUE(parse_codec(name));
    EXPECT_EQ(parse_codec(name)->id, codec.id);
    for (int level = codec.lowest - 1; level <= codec.highest + 1; ++level) {
      const auto parsed = parse_codec(name + ':' + std::to_string(level));
      EXPECT_EQ(parsed.has_value(), codec.has_levels() && codec.has_level(level)) << level;
      if (codec.id == CodecId::kRaw) continue;
      EXPECT_EQ(make_encoder({codec.id, level}).has_value(), codec.has_level(level)) << level;
    }
  }
}

TEST(Codec, RefusesWhatItDoesNotKnow) {
  std::set<CodecId> known;
  for (const CodecInfo& codec : codecs()) known.insert(codec.id);
  for (unsigned number = 0; number < 256; ++number) {
    const auto id = static_cast<CodecId>(number);
    if (known.contains(id)) continue;
    const auto decoder = make_decoder(id);
    ASSERT_FALSE(decoder) << number;
    EXPECT_EQ(decoder.error().kind, ErrorKind::kProtocol);
    const auto encoder = make_encoder({id, 1});
    ASSERT_FALSE(encoder) << number;
    EXPECT_EQ(encoder.error().kind, ErrorKind::kInvalidArgument);
  }
}

TEST(Codec, RefusesLevelsThatACodecDoesNotHave) {
  const CodecChoice choices[] = {{CodecId::kLz4, 0},    {CodecId::kLz4, 65},  {CodecId::kZstd, 0},
                                 {CodecId::kZstd, 20},  {CodecId::kZstd, -8}, {CodecId::kDeflate, 0},
                                 {CodecId::kDeflate, 4}};
  for (const CodecChoice& choice : choices) {
    const auto encoder = make_encoder(choice);
    ASSERT_FALSE(encoder) << format_codec(choice);
    EXPECT_EQ(encoder.error().kind, ErrorKind::kInvalidArgument);
  }
}

}  // namespace
}  // namespace godwit::codec_test
