// Sub-blocks: the sixteenths of a page in which rewritten pages are compared and sent.
//
//   page   | 0 (256 bytes) | 1 | ... | 15 |      hashes   | 0 (64 bits) | 1 | ... | 15 |
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

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

/// What hashes are keyed by: random bytes, new for each migration, so that no guest can prepare two pages that hash
/// alike.
struct HashKey {
  alignas(64) std::array<std::byte, 192> bytes;
};
static_assert(sizeof(HashKey) == 192);

}  // namespace godwit
