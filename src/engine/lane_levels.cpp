#include "engine/lane_levels.h"

#include "engine/codec_levels.h"
#include "engine/lane_counters.h"

namespace godwit {

static_assert(kCodecLevels <= kMostLevels);

std::vector<CodecChoice> levels_for(const std::optional<CodecChoice>& asked) {
  if (!asked) return {codec_levels().begin(), codec_levels().end()};
  std::vector<CodecChoice> levels{{CodecId::kRaw}};
  if (asked->id != CodecId::kRaw) levels.push_back(*asked);
  return levels;
}

LaneLevels::LaneLevels(const std::optional<CodecChoice>& asked) : levels_(levels_for(asked)) {
  if (!asked) governor_.emplace();
}

LaneLevels::Choice LaneLevels::choose(BlockKind kind, Bytes block) noexcept {
  if (!governor_) return {levels_.size() - 1};
  const double entropy = kind == BlockKind::kPages ? sampled_entropy(block) : kUnsampled;
  return {governor_->choose(kind, block.size(), entropy), entropy};
}

void LaneLevels::learn(const BlockOutcome& outcome) noexcept {
  if (governor_) governor_->learn(outcome);
}

}  // namespace godwit
