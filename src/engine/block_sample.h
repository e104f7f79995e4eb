// What a few hundred bytes of a block tell of all of it, before any codec has seen it.
#pragma once

#include "base/bytes.h"

namespace godwit {

/// Bits per byte that a code for single bytes would need for `block`, judged by some 500 bytes from all over it: 0
/// where all are the same, about 7.6 where they are random. Of what repeats at a distance it sees nothing. About 1 us;
/// a block below kLeastSampled bytes does not say enough, so for it the result is kUnsampled.
double sampled_entropy(Bytes block) noexcept;

inline constexpr std::size_t kLeastSampled = 4096;
/// The entropy of a block that nobody has looked at. Below 0, as no entropy is.
inline constexpr double kUnsampled = -1;

}  // namespace godwit
