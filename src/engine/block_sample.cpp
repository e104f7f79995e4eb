#include "engine/block_sample.h"

#include <array>
#include <cmath>
#include <cstdint>

namespace godwit {

namespace {

// 32 places in a chunk meet runs of a few pages; 16 bytes at each are two words of whatever lies there.
constexpr std::size_t kPlaces = 32;
constexpr std::size_t kAtEach = 16;
constexpr std::size_t kSampled = kPlaces * kAtEach;

/// n log2 n.
std::array<float, kSampled + 1> make_terms() {
  std::array<float, kSampled + 1> terms{};
  for (std::size_t n = 2; n < terms.size(); ++n) terms[n] = static_cast<float>(n) * std::log2(static_cast<float>(n));
  return terms;
}

}  // namespace

double sampled_entropy(Bytes block) noexcept {
  static const auto terms = make_terms();
  if (block.size() < kLeastSampled) return kUnsampled;
  std::array<std::uint16_t, 256> counts{};
  const std::size_t stride = block.size() / kPlaces;
  for (std::size_t place = 0; place < kPlaces; ++place) {
    // Not at the same place of every page, where what is first or last would count for all of it.
    const std::size_t within = place * 0x9e37 % (stride - kAtEach + 1);
    for (const std::byte b : block.subspan(place * stride + within, kAtEach)) ++counts[std::to_integer<std::size_t>(b)];
  }
  std::array<float, 4> sums{};
  for (std::size_t i = 0; i < counts.size(); ++i) sums[i % sums.size()] += terms[counts[i]];
  const float sum = sums[0] + sums[1] + sums[2] + sums[3];
  return (terms[kSampled] - sum) / kSampled;
}

}  // namespace godwit
