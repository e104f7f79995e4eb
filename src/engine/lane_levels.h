// The codecs that one lane may choose from: level 0 is raw.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "codec/codec.h"
#include "engine/governor.h"

namespace godwit {

/// The levels of every lane of a migration: all that the governor knows, or raw and the one that was asked for.
/// `offered`: a device beside them, the last level then.
std::vector<CodecChoice> levels_for(const std::optional<CodecChoice>& asked, const std::optional<CodecChoice>& offered);

/// Owned by one lane.
class LaneLevels {
 public:
  /// Governed if no codec was asked for.
  LaneLevels(const std::optional<CodecChoice>& asked, const std::optional<CodecChoice>& offered);

  /// For the next block; its entropy is to be told to learn().
  struct Choice {
    std::size_t level = 0;
    double entropy = kUnsampled;
  };
  /// `device_wait`: as Encoder::device_wait_per_byte() of the last level.
  Choice choose(BlockKind kind, Bytes block, std::optional<double> device_wait) noexcept;
  /// The device's level; 0: the governor has none to choose.
  std::size_t device_level() const noexcept { return governor_ && levels_.size() > kDeviceLevel ? kDeviceLevel : 0; }
  /// That of a device, chosen by the governor or asked for; 0: there is none.
  std::size_t accelerated_level() const noexcept {
    return levels_.back().device != CodecDevice::kCpu ? levels_.size() - 1 : 0;
  }
  CodecId codec(std::size_t level) const noexcept { return levels_[level].id; }
  void learn(const BlockOutcome& outcome) noexcept;
  /// Saving bytes gains nothing now.
  bool link_is_idle() const noexcept { return governor_ && governor_->link_is_idle(); }

 private:
  std::vector<CodecChoice> levels_;
  std::optional<Governor> governor_;
};

}  // namespace godwit
