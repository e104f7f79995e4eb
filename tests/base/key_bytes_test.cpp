#include "base/key_bytes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <type_traits>
#include <utility>

namespace godwit::key_bytes_test {
namespace {

constexpr std::string_view kLine = "tests:00112233445566778899aabbccddeeff";

/// Memory that an object is made in, so that it can be looked at when the object has gone.
class Place {
 public:
  KeyBytes* make(std::string_view text) {
    auto* const made = new (memory_.data()) KeyBytes;
    EXPECT_TRUE(made->add(bytes_of(text)));
    return made;
  }
  bool holds(std::string_view text) {
    // For the compiler the end of an object is the end of its bytes: what they are has to be looked up.
    const std::byte* begin = memory_.data();
    __asm__ volatile("" : "+r"(begin) : : "memory");
    return ::memmem(begin, memory_.size(), text.data(), text.size()) != nullptr;
  }
  bool is_zero() {
    const std::byte* begin = memory_.data();
    __asm__ volatile("" : "+r"(begin) : : "memory");
    return std::all_of(begin, begin + memory_.size(), [](std::byte b) { return b == std::byte{}; });
  }

 private:
  alignas(KeyBytes) std::array<std::byte, sizeof(KeyBytes)> memory_{};
};

TEST(KeyBytes, AreZeroInMemoryOnceTheyAreDoneWith) {
  Place place;
  KeyBytes* const key = place.make(kLine);
  ASSERT_TRUE(place.holds(kLine));
  key->~KeyBytes();
  EXPECT_TRUE(place.is_zero());
}

TEST(KeyBytes, LeaveNothingWhereTheyWereMovedFrom) {
  Place place;
  KeyBytes* const key = place.make(kLine);
  KeyBytes moved = std::move(*key);
  EXPECT_TRUE(key->empty());
  EXPECT_TRUE(place.is_zero());
  EXPECT_EQ(moved.text(), kLine);
  ASSERT_TRUE(key->add(bytes_of("other")));
  moved = std::move(*key);
  EXPECT_TRUE(place.is_zero());
  EXPECT_EQ(moved.text(), "other");
  key->~KeyBytes();
}

TEST(KeyBytes, ForgetWhatTheyWereWhenTheyAreGivenOthers) {
  Place place;
  KeyBytes* const key = place.make(kLine);
  *key = KeyBytes(4, 'x');
  EXPECT_EQ(key->text(), "xxxx");
  EXPECT_FALSE(place.holds(kLine.substr(8)));
  key->~KeyBytes();
}

TEST(KeyBytes, ThatWereFilledInAndNotTakenAreWipedToo) {
  Place place;
  KeyBytes* const key = place.make("");
  const MutableBytes room = key->room();
  std::memcpy(room.data(), kLine.data(), kLine.size());
  ASSERT_TRUE(place.holds(kLine));
  key->~KeyBytes();
  EXPECT_TRUE(place.is_zero());
}

TEST(KeyBytes, AreNotCopiedByAccident) {
  EXPECT_FALSE(std::is_copy_constructible_v<KeyBytes>);
  EXPECT_FALSE(std::is_copy_assignable_v<KeyBytes>);
}

TEST(KeyBytes, HaveRoomForALineAndNoMore) {
  KeyBytes key(KeyBytes::kMost - 1, 'k');
  EXPECT_FALSE(key.add(bytes_of("ab")));
  EXPECT_EQ(key.size(), KeyBytes::kMost - 1);
  EXPECT_TRUE(key.add(bytes_of("a")));
  EXPECT_TRUE(key.room().empty());
  EXPECT_TRUE(key.add({}));
  EXPECT_EQ(KeyBytes(KeyBytes::kMost + 1).size(), KeyBytes::kMost);
}

}  // namespace
}  // namespace godwit::key_bytes_test
