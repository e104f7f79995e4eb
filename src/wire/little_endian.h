// Numbers in the byte order of the wire.
#pragma once

#include <concepts>
#include <cstddef>
#include <vector>

#include "base/bytes.h"

namespace godwit::wire {

/// Writes `value` at `to`, which has room for it.
template <std::unsigned_integral T>
void put(std::byte* to, T value) noexcept {
  for (std::size_t i = 0; i < sizeof(T); ++i) to[i] = static_cast<std::byte>(value >> (8 * i));
}

template <std::unsigned_integral T>
void append(std::vector<std::byte>& to, T value) {
  to.resize(to.size() + sizeof(T));
  put(to.data() + to.size() - sizeof(T), value);
}

/// Reads a number at `from`, which is long enough.
template <std::unsigned_integral T>
T get(const std::byte* from) noexcept {
  T value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    value = static_cast<T>(value | static_cast<T>(static_cast<T>(from[i]) << (8 * i)));
  }
  return value;
}

}  // namespace godwit::wire
