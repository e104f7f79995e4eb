// Blocks to encode: what guest pages look like, made up from a seed.
#pragma once

#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "base/bytes.h"

namespace godwit::testing {

using Buffer = std::vector<std::byte>;
inline constexpr std::size_t kPage = 4096;

inline Buffer zeros(std::size_t size) {
  return Buffer(size);
}

inline Buffer random_bytes(std::size_t size, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  Buffer bytes(size);
  for (std::size_t at = 0; at < size; at += 8) {
    const std::uint64_t word = random();
    std::memcpy(bytes.data() + at, &word, std::min<std::size_t>(8, size - at));
  }
  return bytes;
}

inline Buffer text(std::size_t size, std::uint64_t seed) {
  constexpr std::string_view kWords[] = {"godwit ", "tide ",  "estuary ", "mudflat ",
                                         "north ",  "wind, ", "flock\n",  "the "};
  std::mt19937_64 random(seed);
  std::string words;
  while (words.size() < size) words += kWords[random() % std::size(kWords)];
  const Bytes bytes = bytes_of(words);
  return Buffer(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
}

/// Page by page one of: zeros, text, random bytes, small integers as a heap has them.
inline Buffer mixed(std::size_t size, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  Buffer bytes(size);
  for (std::size_t at = 0; at < size; at += kPage) {
    const std::size_t length = std::min(kPage, size - at);
    Buffer page = zeros(length);
    const auto kind = random() % 4;
    if (kind == 1) page = text(length, random());
    if (kind == 2) page = random_bytes(length, random());
    if (kind == 3) {
      for (std::size_t i = 0; i + 8 <= length; i += 8) page[i] = static_cast<std::byte>(random());
    }
    std::ranges::copy(page, bytes.begin() + static_cast<std::ptrdiff_t>(at));
  }
  return bytes;
}

/// Room for `size` bytes between two guards that nobody may write to.
class Guarded {
 public:
  explicit Guarded(std::size_t size) : bytes_(size + 2 * kGuard, kMark) {}
  MutableBytes room() { return MutableBytes(bytes_).subspan(kGuard, bytes_.size() - 2 * kGuard); }
  bool intact() const {
    const Bytes all(bytes_);
    const auto marked = [](Bytes guard) { return std::ranges::all_of(guard, [](auto byte) { return byte == kMark; }); };
    return marked(all.first(kGuard)) && marked(all.last(kGuard));
  }

 private:
  static constexpr std::size_t kGuard = 256;
  static constexpr std::byte kMark{0xa7};
  Buffer bytes_;
};

}  // namespace godwit::testing
