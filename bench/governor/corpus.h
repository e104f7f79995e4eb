// Blocks such as a busy guest's RAM is made of.
#pragma once

#include <cstddef>
#include <vector>

#include "base/bytes.h"

namespace godwit::bench {

inline constexpr std::size_t kBlock = 64 * 4096;

/// `blocks` times 256 KiB, the same each time on one machine: runs of 16 to 512 pages of one sort each,
///
///   22 % text, 35 % machine code and data, 11 % sparse (page tables, heaps: mostly zero), 10 % weakly compressible,
///   22 % already compressed or random
///
/// without zero pages, which no codec ever sees. Empty where /usr does not hold enough files.
std::vector<std::byte> make_corpus(std::size_t blocks);

}  // namespace godwit::bench
