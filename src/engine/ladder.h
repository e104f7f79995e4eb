// The ladder of codecs that the governor climbs, and what each rung does to blocks of each class of content: measured
// once, by bench_governor; a lane corrects the times by its own machine.
#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "codec/codec.h"

namespace godwit {

inline constexpr std::size_t kRungs = 8;
/// Blocks are told apart by the share of their bytes that zstd:1 saves.
inline constexpr std::size_t kContentClasses = 8;

/// Fastest first. Rung 0 is raw.
std::span<const CodecChoice> governor_ladder() noexcept;

/// What to expect of a rung on blocks of one class.
struct RungOnClass {
  double saved = 0;        ///< share of the block that does not travel
  double ns_per_byte = 0;  ///< of the block, to encode it
};
struct Rung {
  double ns_per_block = 0;  ///< what a block costs beside its bytes: setting tables up
  std::array<RungOnClass, kContentClasses> on{};
};

/// The classes' upper bounds, by what zstd:1 saves; the last is 1.
inline constexpr std::array<double, kContentClasses> kClassBounds = {0.01, 0.08, 0.3, 0.5, 0.65, 0.74, 0.83, 1};
/// How common each class is on a busy guest: what a lane believes before it has seen its own.
extern const std::array<double, kContentClasses> kClassShares;

/// What sampled_entropy() finds in blocks of a class.
struct ClassEntropy {
  double mean = 0;
  double spread = 0;  ///< standard deviation
};
extern const std::array<ClassEntropy, kContentClasses> kClassEntropy;

/// `rung` below kRungs.
const Rung& rung_at(std::size_t rung) noexcept;

}  // namespace godwit
