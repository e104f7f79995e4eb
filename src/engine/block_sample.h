// What a few hundred bytes of a block tell of all of it, before any codec has seen it.
#pragma once

#include "base/bytes.h"

namespace godwit {

/// Bits per byte that a code for single bytes would need for `block`, judged by some 500 bytes from all over it: 0
/// where all are the same, about 7.6 where they are random. Of what repeats at a distance it sees nothing. About 1 us;
/// no smaller block than kLeastSampled says enough, and for it the result is below 0.
double sampled_entropy(Bytes block) noexcept;

inline constexpr std::size_t kLeastSampled = 4096;

}  // namespace godwit
