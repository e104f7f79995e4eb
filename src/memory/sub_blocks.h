// Sub-blocks: the sixteenths of a page in which rewritten pages are compared and sent.
//
//   page   | 0 (256 bytes) | 1 | ... | 15 |      hashes   | 0 (64 bits) | 1 | ... | 15 |
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "base/bytes.h"
#include "memory/page.h"

namespace godwit {

inline constexpr std::size_t kSubBlockSize = 256;
inline constexpr unsigned kSubBlocksPerPage = 16;
static_assert(kSubBlockSize * kSubBlocksPerPage == kPageSize);

/// A set of sub-blocks of one page: bit i is the bytes [256 i, 256 i + 256).
using SubBlockMask = std::uint16_t;
inline constexpr SubBlockMask kAllSubBlocks = 0xffff;

/// Bytes that the named sub-blocks take when they are joined.
inline std::size_t sub_block_bytes(SubBlockMask mask) noexcept {
  return static_cast<std::size_t>(std::popcount(mask)) * kSubBlockSize;
}

/// The hash of each sub-block of a page.
using PageHashes = std::array<std::uint64_t, kSubBlocksPerPage>;

/// Sub-blocks are hashed as this many little-endian words of 32 bits.
inline constexpr unsigned kWordsPerSubBlock = kSubBlockSize / sizeof(std::uint32_t);

/// What hashes are keyed by: random bits, new for each migration. The hash of a sub-block with the words w is
///
///   A = a.start + sum of a.factor[i] * w[i] mod 2^64,   B the same by b,   hash = (A >> 32) << 32 | (B >> 32)
///
/// Two different sub-blocks that do not depend on the key have the same hash with a probability of 2^-64, whatever they
/// hold. Say they differ in word i, by d = 2^t * odd, t < 32. All else given, a.start makes A uniform, and a.factor[i]
/// makes A - A' = c + d * a.factor[i] uniform over the numbers that are c mod 2^t, independent of A. So for any A the
/// upper 32 bits of A' are uniform, and agree once in 2^32; those of B and B', by a key of their own, once in 2^32 too.
/// (Lemire, Kaser: "Strongly universal string hashing is fast", 2014: Multilinear, characters of 32 bits, keys of 64.)
struct HashKey {
  struct Function {
    /// factor[i] is upper[i] * 2^32 + lower[i]: vectors multiply by halves.
    alignas(64) std::uint32_t lower[kWordsPerSubBlock];
    alignas(64) std::uint32_t upper[kWordsPerSubBlock];
    std::uint64_t start;
  };
  Function a;
  Function b;

  /// All of it, to be filled. With a key of zeros all hashes are equal.
  MutableBytes bytes() noexcept { return {reinterpret_cast<std::byte*>(this), sizeof(*this)}; }
};

}  // namespace godwit
