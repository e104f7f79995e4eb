// The run state in QEMU's stream, found wherever the pieces are cut.
#include "vmm/qemu/global_state.h"

#include <gtest/gtest.h>

namespace godwit::qemu::global_state_test {
namespace {

std::string section(const std::string& state) {
  std::string text("\x04\0\0\0\x04", 5);
  text += "\x0bglobalstate";
  text += std::string("\0\0\0\0\0\0\0\x01\0\0\0\x08", 12);
  return text + state + std::string(100 - state.size(), '\0');
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

TEST(GlobalState, TheFirstOneCounts) {
  GlobalState found;
  found.feed(bytes_of(section("running") + section("paused")));
  EXPECT_EQ(found.run_state().value_or("?"), "running");
}

TEST(GlobalState, IsNotLookedForWithoutEnd) {
  GlobalState found;
  const std::string megabyte(1 << 20, 'x');
  for (int i = 0; i < 3; ++i) found.feed(bytes_of(megabyte));
  found.feed(bytes_of(section("paused")));
  EXPECT_FALSE(found.run_state().has_value());
}

}  // namespace
}  // namespace godwit::qemu::global_state_test
