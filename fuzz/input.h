// The fuzzer's input, taken piece by piece: what is missing at its end reads as zeros, so that every input means
// something.
#pragma once

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "base/bytes.h"

namespace godwit {

/// What a target promises; the fuzzer keeps the input that breaks it.
inline void check(bool kept, int line = __builtin_LINE()) {
  if (kept) return;
  std::fprintf(stderr, "the promise in line %d has been broken\n", line);
  std::abort();
}

class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : rest_(std::as_bytes(std::span(data, size))) {}

  bool empty() const noexcept { return rest_.empty(); }
  std::uint8_t byte() {
    if (rest_.empty()) return 0;
    const auto first = std::to_integer<std::uint8_t>(rest_[0]);
    rest_ = rest_.subspan(1);
    return first;
  }
  std::size_t two_bytes() {
    const std::size_t first = byte();
    return first << 8 | byte();
  }
  Bytes bytes(std::size_t most) {
    const Bytes taken = rest_.first(std::min(most, rest_.size()));
    rest_ = rest_.subspan(taken.size());
    return taken;
  }
  Bytes rest() { return bytes(rest_.size()); }

 private:
  Bytes rest_;
};

/// Changes some bytes: | where (2 bytes) | XOR |, up to three times. The first place that is changed; `bytes`' length
/// if none is.
inline std::size_t edit(std::vector<std::byte>& bytes, Input& input) {
  std::size_t first = bytes.size();
  for (unsigned left = input.byte() & 3; left > 0; --left) {
    const std::size_t where = input.two_bytes();
    const auto by = static_cast<std::byte>(input.byte());
    if (bytes.empty() || by == std::byte{0}) continue;
    bytes[where % bytes.size()] ^= by;
    first = std::min(first, where % bytes.size());
  }
  return first;
}

}  // namespace godwit
