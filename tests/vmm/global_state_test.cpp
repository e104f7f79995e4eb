// The run state in QEMU's stream, found wherever the pieces are cut.
#include "vmm/qemu/global_state.h"

#include <gtest/gtest.h>

namespace godwit::qemu::global_state_test {
namespace {

std::string section(const std::string& state) {
  std::string text("\x04\0\0\0\x04", 5);
  text += "\x0bglobalstate";
  text += std::string("\0\0\0\0\0\0\0\x01\0\0\0\x08", 12);
  return text + state + std::string(100 - state.size(), '\0') + std::string("\x7e\0\0\0\x04", 5);
}

TEST(GlobalState, IsFoundWhereverTheStreamIsCut) {
  const std::string stream = std::string(300, '\x7e') + section("paused") + std::string(5000, 'x');
  for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, std::size_t{128}, stream.size()}) {
    GlobalState found;
    for (std::size_t at = 0; at < stream.size(); at += piece) {
      found.feed(bytes_of(std::string_view(stream).substr(at, piece)));
    }
    EXPECT_EQ(found.run_state().value_or("?"), "paused") << piece;
  }
}

/// A virtio-gpu's pictures come before it.
TEST(GlobalState, IsFoundBehindMegabytesOfDevices) {
  GlobalState found;
  const std::string megabyte(1 << 20, '\x0b');
  for (int i = 0; i < 5; ++i) found.feed(bytes_of(megabyte));
  found.feed(bytes_of(section("paused")));
  EXPECT_EQ(found.run_state().value_or("?"), "paused");
}

/// What a guest has written into a device's memory does not count for more than what QEMU says.
TEST(GlobalState, DifferentOnesAreNoAnswer) {
  GlobalState found;
  found.feed(bytes_of(section("running") + section("shutdown")));
  EXPECT_FALSE(found.run_state().has_value());
  EXPECT_TRUE(found.contradicts_itself());
  found.feed(bytes_of(section("running")));
  EXPECT_FALSE(found.run_state().has_value());
}

TEST(GlobalState, EqualOnesAgree) {
  GlobalState found;
  found.feed(bytes_of(section("running") + section("running")));
  EXPECT_EQ(found.run_state().value_or("?"), "running");
  EXPECT_FALSE(found.contradicts_itself());
}

/// The name alone, in the middle of something else, is not one.
TEST(GlobalState, IsASectionFromItsTypeToItsFooter) {
  const std::string whole = section("paused");
  for (const std::size_t wrong : {std::size_t{0}, std::size_t{2}, whole.size() - 5, whole.size() - 1}) {
    std::string text = whole;
    text[wrong] ^= 1;
    GlobalState found;
    found.feed(bytes_of("some device" + text + std::string(300, 'x')));
    EXPECT_FALSE(found.run_state().has_value()) << wrong;
  }
}

}  // namespace
}  // namespace godwit::qemu::global_state_test
