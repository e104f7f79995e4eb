// The codecs that one lane may choose from: level 0 is raw.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "codec/codec.h"
#include "engine/governor.h"

namespace godwit {

/// The levels of every lane of a migration: all that the governor knows, or raw and the one that was asked for.
std::vector<CodecChoice> levels_for(const std::optional<CodecChoice>& asked);

/// Owned by one lane.
class LaneLevels {
 public:
  /// Governed if no codec was asked for.
  explicit LaneLevels(const std::optional<CodecChoice>& asked);

  /// For the next block; its entropy is to be told to learn().
  struct Choice {
    std::size_t level = 0;
    double entropy = kUnsampled;
  };
  Choice choose(BlockKind kind, Bytes block) noexcept;
  CodecId codec(std::size_t level) const noexcept { return levels_[level].id; }
  void learn(const BlockOutcome& outcome) noexcept;
  /// Saving bytes gains nothing now.
  bool link_is_idle() const noexcept { return governor_ && governor_->link_is_idle(); }

 private:
  std::vector<CodecChoice> levels_;
  std::optional<Governor> governor_;
};

}  // namespace godwit
