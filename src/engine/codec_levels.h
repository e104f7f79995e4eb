// The codec levels that the governor chooses from, and what each does to blocks of each class of content: measured
// once, by bench_governor; a lane corrects the times by its own machine.
#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "codec/codec.h"

namespace godwit {

inline constexpr std::size_t kCodecLevels = 8;
/// Behind them: deflate by a device, where there is one.
inline constexpr std::size_t kDeviceLevel = kCodecLevels;
/// Blocks are told apart by the share of their bytes that zstd:1 saves.
inline constexpr std::size_t kContentClasses = 8;

/// Fastest first. Level 0 is raw.
std::span<const CodecChoice> codec_levels() noexcept;

/// What to expect of a level on blocks of one class.
struct LevelOnClass {
  double saved = 0;        ///< share of the block that does not travel
  double ns_per_byte = 0;  ///< of the block, to encode it
};
struct CodecLevel {
  double ns_per_block = 0;  ///< what a block costs beside its bytes: setting tables up
  std::array<LevelOnClass, kContentClasses> on{};
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

/// `level` below kCodecLevels.
const CodecLevel& codec_level(std::size_t level) noexcept;
/// The share of a block that does not travel, also of kDeviceLevel.
double saved_by(std::size_t level, std::size_t content_class) noexcept;

}  // namespace godwit
