#include "engine/lane_levels.h"

#include "engine/codec_levels.h"
#include "engine/lane_counters.h"

namespace godwit {

static_assert(kDeviceLevel < kByCpuLevel);

std::vector<CodecChoice> levels_for(const std::optional<CodecChoice>& asked,
                                    const std::optional<CodecChoice>& offered) {
  if (!asked) {
    std::vector<CodecChoice> levels(codec_levels().begin(), codec_levels().end());
    if (offered) levels.push_back(*offered);
    return levels;
  }
  std::vector<CodecChoice> levels{{CodecId::kRaw}};
  if (asked->id != CodecId::kRaw) levels.push_back(*asked);
  return levels;
}

LaneLevels::LaneLevels(const std::optional<CodecChoice>& asked, const std::optional<CodecChoice>& offered)
    : levels_(levels_for(asked, offered)) {
  if (!asked) governor_.emplace();
}

LaneLevels::Choice LaneLevels::choose(BlockKind kind, Bytes block, std::optional<double> device_wait) noexcept {
  if (!governor_) return {levels_.size() - 1};
  const double entropy = kind == BlockKind::kPages ? sampled_entropy(block) : kUnsampled;
  return {governor_->choose(kind, block.size(), entropy, device_wait), entropy};
}

void LaneLevels::learn(const BlockOutcome& outcome) noexcept {
  if (governor_) governor_->learn(outcome);
}

}  // namespace godwit
