// The bytes of wire version 5. They never change: what changes them needs a new version (spec.md).
#include <gtest/gtest.h>

#include "tests/wire/samples.h"
#include "wire/control.h"
#include "wire/frame.h"

namespace godwit::wire::testing::golden_test {
namespace {

std::string text_as_hex(std::string_view text) {
  return hex(bytes_of(text));
}

constexpr std::string_view kFingerprint =
    R"({"accelerator":"tcg","blocks":[{"name":"pc.ram","page_size":4096,"size":1073741824},)"
    R"({"name":"vga.vram","page_size":4096,"size":16777216}],)"
    R"("cpu_features":{"feat-1-ecx":"0x80802001","feat-1-edx":"0x078bfbfd"},"cpu_model":"qemu64-x86_64-cpu","cpus":2,)"
    R"("hypervisor":"qemu","machine":"pc-i440fx-7.2","version":"7.2.22","vm_name":"vm \"1\""})";

struct Golden {
  std::uint16_t type;
  std::string body;  ///< hex
};

/// As sample_messages(), one by one.
std::vector<Golden> golden_bodies() {
  const std::string fingerprint(kFingerprint);
  return {
      {0x01, text_as_hex(R"({"fingerprint":)" + fingerprint + R"(,"lanes":4,"program":"godwit 0.1.0"})")},
      {0x02,
       "04030201"
       "08000000"
       "03000000"
       "02000040"
       "02000080"
       "8877665544332211"
       "0100000000000000"
       "01000000"},
      {0x03, ""},
      {0x04, "00ff5145564d"},
      {0x08,
       "02000000"
       "00100000"
       "28b52ffd"},
      {0x05, ""},
      {0x06, ""},
      {0x09,
       "04030201"
       "03000000"
       "01000000"
       "01000080"
       "0100000000000000"
       "01000040"},
      {0x0a, ""},
      {0x0b, ""},
      {0x07, ""},
      {0x41, text_as_hex(R"({"fingerprint":)" + fingerprint + R"(,"program":"godwit 0.1.0"})")},
      {0x42, text_as_hex(R"({"reason":"the machine types differ"})")},
      {0x43, ""},
      {0x44, "ffffffff"},
      {0x45, ""},
      {0x46, text_as_hex(R"({"commit_to_resume_us":412,"cpu_us":1234567,"device_load_us":4600,)"
                         R"("last_fence_to_prepared_us":0,"peak_rss":56789012})")},
      {0x81, ""},
      {0x82, text_as_hex(R"({"kind":"peer-lost","reason":"lane 1: the peer closed the connection"})")},
  };
}

TEST(Golden, EveryMessage) {
  const auto messages = sample_messages();
  const auto golden = golden_bodies();
  ASSERT_EQ(messages.size(), golden.size());
  for (std::size_t i = 0; i < golden.size(); ++i) {
    const Encoded encoded = encode(messages[i]);
    EXPECT_EQ(encoded.type, golden[i].type);
    EXPECT_EQ(hex(encoded.body), golden[i].body) << "type " << golden[i].type;
    const auto decoded = decode(golden[i].type, unhex(golden[i].body));
    ASSERT_TRUE(decoded) << decoded.error().message;
    EXPECT_TRUE(*decoded == messages[i]) << "type " << golden[i].type;
  }
}

/// What `write` puts on a channel, as hex.
template <typename Write>
std::string bytes_written(Write write) {
  auto pair = make_channel_pair();
  EXPECT_TRUE(pair);
  EXPECT_TRUE(write(*pair->first));
  std::vector<std::byte> bytes(pair->first->link().bytes_sent());
  EXPECT_TRUE(receive_bytes(*pair->second, bytes));
  return hex(bytes);
}

TEST(Golden, AMessageOnTheConnection) {
  EXPECT_EQ(bytes_written([](Channel& channel) { return ControlConnection(channel).send(Fenced{7}); }),
            "4400000004000000"
            "07000000");
  EXPECT_EQ(bytes_written([](Channel& channel) { return ControlConnection(channel).send(Heartbeat{}); }),
            "8100000000000000");
  EXPECT_EQ(
      bytes_written([](Channel& channel) { return ControlConnection(channel).send(DeviceBytes{unhex("aabbcc")}); }),
      "0400000003000000"
      "aabbcc");
}

TEST(Golden, TheGreeting) {
  Greeting greeting{.role = Role::kLane, .lane = 0x0102};
  for (std::size_t i = 0; i < greeting.secret.size(); ++i) greeting.secret[i] = static_cast<std::byte>(0xe0 + i);
  EXPECT_EQ(bytes_written([&](Channel& channel) { return send_greeting(channel, greeting); }),
            "474f44574954000a"
            "0500"
            "02"
            "00"
            "0201"
            "0000"
            "e0e1e2e3e4e5e6e7e8e9eaebecedeeef"
            "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff");
}

TEST(Golden, LaneFrames) {
  const struct {
    FrameHeader header;
    std::string bytes;
  } cases[] = {
      {{.type = FrameType::kPages,
        .codec = 2,
        .chunk = ChunkIndex{0x01020304},
        .data = 0xf0,
        .zero = 0x0807060504030201,
        .fill = 0x4000,
        .copies = 0x8000,
        .delta = 0xc8000,
        .xored = 0x80000,
        .payload = 0x1234,
        .block = 0x4516},
       "01020000"
       "04030201"
       "f000000000000000"
       "0102030405060708"
       "0040000000000000"
       "0080000000000000"
       "00800c0000000000"
       "0000080000000000"
       "34120000"
       "16450000"},
      {{.type = FrameType::kPages, .chunk = ChunkIndex{5}, .data = kAllPages, .payload = 262144, .block = 262144},
       "01000000"
       "05000000"
       "ffffffffffffffff"
       "0000000000000000"
       "0000000000000000"
       "0000000000000000"
       "0000000000000000"
       "0000000000000000"
       "00000400"
       "00000400"},
      {{.type = FrameType::kFence, .chunk = ChunkIndex{0xffffffff}},
       "02000000"
       "ffffffff"
       "0000000000000000"
       "0000000000000000"
       "0000000000000000"
       "0000000000000000"
       "0000000000000000"
       "0000000000000000"
       "00000000"
       "00000000"},
  };
  for (const auto& golden : cases) {
    EXPECT_EQ(hex(encode(golden.header)), golden.bytes);
    const auto decoded = decode_frame_header(unhex(golden.bytes));
    ASSERT_TRUE(decoded) << decoded.error().message;
    EXPECT_EQ(*decoded, golden.header);
  }
}

}  // namespace
}  // namespace godwit::wire::testing::golden_test
