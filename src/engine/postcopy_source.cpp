#include "engine/postcopy_source.h"

#include <algorithm>

#include "engine/missing_map.h"

namespace godwit {

namespace {
constexpr Duration kStopPatience = std::chrono::seconds(20);
// The sink takes pages away, some hundred thousand a second.
constexpr Duration kReadyPatience = std::chrono::seconds(20);
// What is taken away in a millisecond or two.
constexpr std::uint64_t kFewMissing = 256;
// Of maps after the first one, which tells of all that was left: written while the one before was followed.
constexpr double kFewerByNow = 0.7;
constexpr unsigned kMostMaps = 8;
constexpr Duration kPaceEvery = std::chrono::milliseconds(20);
}  // namespace

void PostcopySource::hold() {
  held_ = true;
  setting_.held.store(true, std::memory_order_release);
  lanes_.fence(kMissingFence);
}

bool PostcopySource::can_tell_ahead() const {
  if (!held_ || !has_taken_away()) return false;
  return maps_ == 0 ? lanes_.have_sent(kMissingFence) : another_map_pays();
}

/// What the guest writes most is missing after a few of them: then it writes hardly anything that the sink has.
bool PostcopySource::another_map_pays() const noexcept {
  if (maps_ < 2) return true;
  if (last_map_ <= kFewMissing || maps_ >= kMostMaps) return false;
  return maps_ == 2 || static_cast<double>(last_map_) < static_cast<double>(map_before_) * kFewerByNow;
}

Status PostcopySource::tell_ahead() {
  const Board& board = setting_.board;
  std::vector<PageWord> besides(board.chunk_count());
  told_.resize(besides.size());
  map_before_ = std::exchange(last_map_, 0);
  for (std::uint32_t c = 0; c < told_.size(); ++c) {
    besides[c] = board.peek(ChunkIndex{c}) & ~told_[c];
    told_[c] |= besides[c];
    last_map_ += page_count(besides[c]);
  }
  ++maps_;
  context_.parts.log.info("missing-ahead", {{"pages", last_map_}});
  return send_missing_map(session_.control(), board.chunk_count(),
                          [&](ChunkIndex chunk) { return besides[chunk.value]; });
}

Status PostcopySource::tell() {
  Board& board = setting_.board;
  // What the sink has taken away must come, whatever has become of it here since: a guest may have freed it.
  for (std::uint32_t c = 0; c < told_.size(); ++c) {
    const PageWord gone = told_[c] & ~board.peek(ChunkIndex{c});
    if (gone != 0) board.post(ChunkIndex{c}, gone);
  }
  TRY(context_.until([](const SourceSignals& s) { return s.stop_told; }, kStopPatience,
                     "the destination to be told that the guest is paused"));
  context_.signals.change([](SourceSignals& s) { s.early = true; });
  missing_ = board.waiting();
  TRY(send_missing_map(session_.control(), board.chunk_count(),
                       [&](ChunkIndex chunk) { return board.peek(chunk) & ~told_[chunk.value]; }));
  TRY(context_.until([](const SourceSignals& s) { return s.fence >= kDevicesFence; }, kReadyPatience,
                     "the destination to take away what it will be sent later"));
  // Not before: what came there first would be taken away again.
  urgent_.start(context_.parts.id, [this](Error error) { context_.fail_with(std::move(error)); });
  return {};
}

void PostcopySource::take_up() {
  held_ = true;
  missing_ = setting_.board.waiting();
  context_.signals.change([](SourceSignals& s) { s.early = true; });
  urgent_.start(context_.parts.id, [this](Error error) { context_.fail_with(std::move(error)); });
}

void PostcopySource::go_on(double bytes_per_second) {
  pace_ = PushPace(bytes_per_second);
  paced_at_ = context_.now();
  paced_bytes_ = lanes_.totals().bytes_wire;
  if (context_.parts.pace_lanes) context_.parts.pace_lanes(pace_.now());
  lanes_.bear_silence(kPostcopyPatience);
  urgent_.bear_silence(kPostcopyPatience);
  if (context_.parts.impose_rate_limit) context_.parts.impose_rate_limit();
  setting_.held.store(false, std::memory_order_release);
  setting_.board.announce();
}

void PostcopySource::keep_pace() {
  const Duration passed = context_.now() - paced_at_;
  if (passed < kPaceEvery || !context_.parts.pace_lanes) return;
  const auto bytes = lanes_.totals().bytes_wire;
  const double sent = static_cast<double>(bytes - paced_bytes_) / std::chrono::duration<double>(passed).count();
  paced_at_ += passed;
  paced_bytes_ = bytes;
  const Duration queueing = lanes_.queueing();
  pace_.look(sent, queueing);
  context_.parts.log.debug(
      "pace", {{"bytes_per_second", pace_.now()}, {"sent_bytes_per_second", sent}, {"queueing", queueing}});
  context_.parts.pace_lanes(pace_.now());
}

Result<bool> PostcopySource::all_there() {
  // First: a sink that has all may hang up.
  if (context_.signals.look().last_fence) return true;
  TRY(context_.no_error_yet());
  keep_pace();
  if (!last_fence_asked_ && setting_.board.waiting() == 0 && lanes_.idle()) {
    last_fence_asked_ = true;
    lanes_.fence(kLastFence);
  }
  return false;
}

}  // namespace godwit
