#include "engine/codec_levels.h"

namespace godwit {

namespace {

constexpr std::array<CodecChoice, kCodecLevels> kLevelChoices = {{
    {CodecId::kRaw, 1},
    {CodecId::kLz4, 16},
    {CodecId::kLz4, 4},
    {CodecId::kLz4, 1},
    {CodecId::kZstd, -1},
    {CodecId::kZstd, 1},
    {CodecId::kZstd, 3},
    {CodecId::kZstd, 6},
}};

// Each level's time for a block, then of each class {saved, ns per byte}, as `bench_governor --levels` prints them,
// from a Xeon of 2023; less than no time for a block, as lz4 has it, counts as none. Other machines differ by a factor,
// which lanes learn, more than in the order of the levels.
// clang-format off
constexpr std::array<CodecLevel, kCodecLevels> kLevelTable = {{
    // raw
    {0, {{{0, 0}, {0, 0}, {0, 0}, {0, 0}, {0, 0}, {0, 0}, {0, 0}, {0, 0}}}},
    // lz4:16
    {0, {{{0, .07}, {.01, .11}, {.17, .28}, {.30, .57}, {.42, .67}, {.45, 1.05}, {.55, 1.14}, {.81, .85}}}},
    // lz4:4
    {0, {{{0, .07}, {.01, .13}, {.18, .38}, {.35, .86}, {.49, 1.04}, {.56, 1.51}, {.65, 1.51}, {.84, .88}}}},
    // lz4:1
    {0, {{{0, .07}, {.01, .14}, {.19, .42}, {.38, 1.04}, {.53, 1.22}, {.61, 1.67}, {.69, 1.62}, {.85, .89}}}},
    // zstd:-1
    {1500, {{{0, .12}, {.01, .23}, {.20, .61}, {.41, 1.44}, {.57, 1.67}, {.67, 2.25}, {.76, 2.14}, {.90, 1.27}}}},
    // zstd:1
    {5000, {{{0, .25}, {.03, 1.05}, {.21, 1.00}, {.43, 1.88}, {.59, 2.02}, {.70, 2.58}, {.78, 2.40}, {.90, 1.38}}}},
    // zstd:3
    {4500, {{{0, .31}, {.03, 1.36}, {.21, 1.68}, {.44, 3.32}, {.60, 3.57}, {.71, 4.11}, {.79, 3.47}, {.91, 1.65}}}},
    // zstd:6
    {7000, {{{0, 2.94}, {.03, 3.94}, {.22, 4.46}, {.45, 7.01}, {.61, 7.21}, {.72, 9.06}, {.80, 8.45}, {.91, 6.01}}}},
}};
// clang-format on

// Deflate by a device saves a little less than zstd:1: 2.06 to 2.12 against 2.2 on a busy guest.
constexpr std::size_t kZstd1 = 5;
constexpr double kDeflateToZstd = 0.96;

}  // namespace

const std::array<double, kContentClasses> kClassShares = {.10, .09, .06, .07, .12, .17, .23, .16};

const std::array<ClassEntropy, kContentClasses> kClassEntropy = {
    {{7.57, .04}, {7.36, .15}, {7.27, .16}, {5.59, .75}, {4.64, .89}, {4.72, .71}, {4.56, .72}, {2.22, 1.62}}};

std::span<const CodecChoice> codec_levels() noexcept {
  return kLevelChoices;
}

const CodecLevel& codec_level(std::size_t level) noexcept {
  return kLevelTable[level];
}

double saved_by(std::size_t level, std::size_t content_class) noexcept {
  if (level < kCodecLevels) return kLevelTable[level].on[content_class].saved;
  return kDeflateToZstd * kLevelTable[kZstd1].on[content_class].saved;
}

}  // namespace godwit
