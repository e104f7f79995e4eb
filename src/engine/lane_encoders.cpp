#include "engine/lane_encoders.h"

#include <fmt/format.h>

#include <algorithm>

namespace godwit {

namespace {

// How often a lane that waits for a device looks whether the link still has something to send.
constexpr Duration kLookAtConnection = std::chrono::milliseconds(1);
// Blocks that a lane may hold beyond those that a device has: what the CPU encodes beside it, until its turn comes.
constexpr std::size_t kBesideADevice = 8;
constexpr std::size_t kCopiedAfterOneIsLate = 256;

}  // namespace

LaneEncoders::LaneEncoders(EncoderProvider& provider, std::vector<CodecChoice> levels, BlockRing& ring,
                           LaneCounters& counters, std::function<void(std::string_view)> on_note,
                           std::function<bool()> link_is_dry)
    : provider_(provider),
      ring_(ring),
      counters_(counters),
      on_note_(std::move(on_note)),
      link_is_dry_(std::move(link_is_dry)) {
  for (const CodecChoice& choice : levels) levels_.push_back({.choice = choice});
  levels_[0].none = true;
}

void LaneEncoders::encode(LaneBlock& block, std::stop_token stop) {
  std::size_t& at = block.choice.level;
  EncodeJob job{.ticket = block.ticket,
                .input = block.input(),
                .output = {block.encoded, block.input().size()},
                .by_cpu = block.not_by_device,
                .changes = !block.in_place.empty()};
  while (!stop.stop_requested()) {
    while (at > 0 && encoder_of(at) == nullptr) --at;
    if (at == 0) break;
    Level& level = levels_[at];
    // Rather wait than send raw what is worth encoding: this lane is as fast as its encoders.
    if (level.under_way >= level.encoder->depth() && !(job.by_cpu && is_device(level))) {
      job.by_cpu = will_not_wait(level);
      if (!job.by_cpu) {
        await_answer(at, stop);
        continue;
      }
    }
    if (job.changes && (job.by_cpu || !level.encoder->reads_in_place())) break;
    const auto taken = level.encoder->submit({&job, 1});
    if (taken && *taken == 1) {
      block.state = ItemState::kAtCodec;
      ++level.under_way;
      return;
    }
    if (job.changes) break;
    add(counters_.blocks_not_encoded, 1);
    if (!taken) fail_block(at, taken.error().message);
    break;
  }
  leave(block);
}

void LaneEncoders::poll() {
  for (std::size_t at = 1; at < levels_.size(); ++at) {
    while (levels_[at].under_way > 0) {
      const std::size_t before = levels_[at].under_way;
      hear(at, levels_[at].encoder->poll(done_));
      if (levels_[at].under_way == before) break;
    }
  }
}

void LaneEncoders::await(LaneBlock& block, std::stop_token stop) {
  while (block.state == ItemState::kAtCodec && !stop.stop_requested()) {
    const Level& level = levels_[block.choice.level];
    const bool is_due = level.encoder->is_late(block.ticket) && will_not_wait(level);
    if (is_due && block.in_place.empty()) {
      do_here(block);
      continue;
    }
    // What lies in guest RAM stays the device's: were it to read a page that the guest has given back by then, that
    // would come to be again, and nobody would know. So there are no more of them for a while.
    if (is_due) copies_ahead_ = kCopiedAfterOneIsLate;
    await_answer(block.choice.level, stop);
  }
}

void LaneEncoders::await_answer(std::size_t level, const std::stop_token& stop) {
  Level& at = levels_[level];
  const std::size_t before = at.under_way;
  const Instant until =
      is_device(at) && link_is_dry_ ? std::chrono::steady_clock::now() + kLookAtConnection : Instant::max();
  hear(level, at.encoder->collect_until(done_, stop, until));
  const bool nothing = at.encoder && at.under_way == before && std::chrono::steady_clock::now() < until;
  if (nothing && !stop.stop_requested()) give_up(level, "it did not wait for an answer");
}

/// The device goes on with what it has, in memory that is not the block's any more.
void LaneEncoders::do_here(LaneBlock& block) {
  const std::size_t at = block.choice.level;
  Level& level = levels_[at];
  level.encoder->forsake(block.ticket, block.change_memory());
  const EncodeJob job{
      .ticket = block.ticket, .input = block.input(), .output = {block.encoded, block.input().size()}, .by_cpu = true};
  const auto taken = level.encoder->submit({&job, 1});
  if (taken && *taken == 1) return;
  --level.under_way;
  add(counters_.blocks_not_encoded, 1);
  go_raw(block);
  if (!taken) fail_block(at, taken.error().message);
}

bool LaneEncoders::reads_in_place(std::size_t level) {
  if (copies_ahead_ > 0) {
    --copies_ahead_;
    return false;
  }
  const Encoder* const encoder = encoder_of(level);
  return encoder != nullptr && encoder->reads_in_place();
}

std::optional<double> LaneEncoders::device_wait_per_byte(std::size_t level) {
  const Encoder* const encoder = encoder_of(level);
  if (encoder == nullptr) return std::nullopt;
  if (levels_[level].under_way >= encoder->depth() && will_not_wait(levels_[level])) return std::nullopt;
  return encoder->device_wait_per_byte();
}

/// Null where nobody has one, or has one that works.
Encoder* LaneEncoders::encoder_of(std::size_t level) {
  Level& at = levels_[level];
  if (at.encoder || at.none) return at.encoder.get();
  auto lent = provider_.lend(at.choice, at.given_up);
  if (!lent && on_note_) on_note_(fmt::format("no encoder of {}: {}", format_codec(at.choice), lent.error().message));
  if (lent) at.encoder = std::move(*lent);
  at.none = at.encoder == nullptr;
  at.failures = 0;
  if (at.encoder) ring_.grow(std::min(at.encoder->depth() + (is_device(at) ? kBesideADevice : 0), kMostUnderWay));
  return at.encoder.get();
}

void LaneEncoders::hear(std::size_t level, Result<std::size_t> heard) {
  if (!heard) return give_up(level, heard.error().message);
  for (std::size_t i = 0; i < *heard && levels_[level].encoder; ++i) answer(level, done_[i]);
}

void LaneEncoders::answer(std::size_t level, const EncodeDone& done) {
  LaneBlock* const block = ring_.find(done.ticket);
  if (block == nullptr || block->state != ItemState::kAtCodec || block->choice.level != level) {
    return give_up(level, "it answered what it was not asked");
  }
  --levels_[level].under_way;
  block->encoding += done.worked;
  if (done.unread) return leave(*block);
  if (done.failed) {
    go_raw(*block);
    add(counters_.blocks_not_encoded, 1);
    return fail_block(level, "its device failed");
  }
  levels_[level].failures = 0;
  block->by_cpu = done.by_cpu;
  block->encoded_size = done.size < block->input().size() ? done.size : 0;
  block->is_dense = block->encoded_size == 0;
  block->unread = block->is_dense && !block->in_place.empty();
  block->state = ItemState::kReady;
}

void LaneEncoders::fail_block(std::size_t level, std::string_view why) {
  if (++levels_[level].failures < kMostFailures) return;
  give_up(level, fmt::format("{} blocks in a row could not be encoded, {}", kMostFailures, why));
}

void LaneEncoders::give_up(std::size_t level, std::string_view why) {
  Level& at = levels_[level];
  // First, because until it is gone it may work on its blocks.
  at.encoder.reset();
  at.under_way = 0;
  ++at.given_up;
  for (LaneBlock* const block : ring_.under_way()) {
    if (block->state == ItemState::kAtCodec && block->choice.level == level) leave(*block);
  }
  add(counters_.encoders_given_up, 1);
  if (on_note_) on_note_(fmt::format("an encoder of {} is given up: {}", format_codec(at.choice), why));
}

void LaneEncoders::leave(LaneBlock& block) noexcept {
  go_raw(block);
  block.unread = !block.in_place.empty();
}

/// The governor is told of a block that nobody tried to encode: it says nothing about the content.
void LaneEncoders::go_raw(LaneBlock& block) noexcept {
  block.choice.level = 0;
  block.encoded_size = 0;
  block.state = ItemState::kReady;
}

}  // namespace godwit
