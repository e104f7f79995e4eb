#include "engine/lane_ladder.h"

#include "engine/ladder.h"
#include "engine/lane_counters.h"

namespace godwit {

static_assert(kRungs <= kMostRungs);

std::vector<CodecChoice> rungs_for(const std::optional<CodecChoice>& asked) {
  if (!asked) return {governor_ladder().begin(), governor_ladder().end()};
  std::vector<CodecChoice> rungs{{CodecId::kRaw}};
  if (asked->id != CodecId::kRaw) rungs.push_back(*asked);
  return rungs;
}

LaneLadder::LaneLadder(const std::optional<CodecChoice>& asked) : rungs_(rungs_for(asked)) {
  if (!asked) governor_.emplace();
}

LaneLadder::Choice LaneLadder::choose(BlockKind kind, Bytes block) noexcept {
  if (!governor_) return {rungs_.size() - 1};
  const double entropy = kind == BlockKind::kPages ? sampled_entropy(block) : kUnsampled;
  return {governor_->choose(kind, block.size(), entropy), entropy};
}

void LaneLadder::learn(const BlockOutcome& outcome) noexcept {
  if (governor_) governor_->learn(outcome);
}

}  // namespace godwit
