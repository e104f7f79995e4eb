#include "engine/postcopy_source.h"

#include <algorithm>
#include <thread>

#include "engine/missing_map.h"

namespace godwit {

namespace {
using std::chrono::microseconds;
// A lane that holds nothing sends a fence in microseconds.
constexpr Duration kLookForFence = microseconds(50);
constexpr Duration kFencePatience = std::chrono::seconds(20);
// The sink takes pages away, some hundred thousand a second.
constexpr Duration kReadyPatience = std::chrono::seconds(20);
constexpr Duration kPaceEvery = std::chrono::milliseconds(20);
}  // namespace

void PostcopySource::hold(std::uint32_t fence) {
  held_ = fence;
  setting_.held.store(true, std::memory_order_release);
  lanes_.fence(fence);
}

Status PostcopySource::tell() {
  TRY(await_fence_sent());
  TRY(context_.until([](const SourceSignals& s) { return s.stop_told; }, kFencePatience,
                     "the destination to be told that the guest is paused"));
  context_.signals.change([](SourceSignals& s) { s.early = true; });
  TRY(send_map());
  urgent_.start(context_.parts.id, [this](Error error) { context_.fail_with(std::move(error)); });
  return context_.until([](const SourceSignals& s) { return s.fence >= kMissingFence; }, kReadyPatience,
                        "the destination to take away what it will be sent later");
}

/// Nothing is claimed any more once all lanes have sent it: the board holds what is missing.
Status PostcopySource::await_fence_sent() {
  const auto deadline = context_.now() + kFencePatience;
  while (!lanes_.have_sent(kMissingFence)) {
    TRY(context_.no_error_yet());
    if (context_.now() >= deadline) {
      return fail(ErrorKind::kTimedOut, "timed out waiting for the link to take what had been sent before the pause");
    }
    std::this_thread::sleep_for(kLookForFence);
  }
  return {};
}

Status PostcopySource::send_map() {
  const Board& board = setting_.board;
  missing_ = board.waiting();
  return send_missing_map(session_.control(), board.chunk_count(), [&](ChunkIndex chunk) { return board.peek(chunk); });
}

void PostcopySource::take_up() {
  held_ = 0;
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
