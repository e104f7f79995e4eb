#include "engine/governor.h"

#include <algorithm>
#include <cmath>

namespace godwit {

namespace {

// Prices, in lane nanoseconds per byte on the wire. The first is what a link of some 4 Gbit/s charges a single lane: a
// fast link is not kept waiting for long, and a slow one corrects it with its first waits.
constexpr double kFirstPrice = 2.5;
constexpr double kLowestPrice = 0.02;
// Below this, hashing a page to find what changed in it costs more than the bytes that it saves.
constexpr double kIdlePrice = 0.1;
// With each block that finds the queue empty, while the link has never been seen at work.
constexpr double kFirstFall = 0.15;

// The following figures were chosen with bench_governor; around them its table hardly changes.
//
// A link that never lets a lane wait may have been kept waiting itself: so waiting a little is what to aim at.
constexpr double kTargetWait = 0.02;
// Steps of the price with a block: small, so that it rests while runs of content pass by; but steeper with every block
// in a row for which send() took longer than kLongWait of the time, because then the price is far off.
constexpr double kRise = 0.1;
constexpr double kFall = 0.02;
constexpr double kLongWait = 0.3;
constexpr double kSteeper = 0.75;
constexpr std::uint32_t kShortRun = 2;
// The same downwards, of blocks that found the queue nearly empty: a stall has passed.
constexpr double kNearlyDry = 0.5;
constexpr std::uint32_t kShortDryRun = 8;
constexpr double kSteeperFall = 0.25;
constexpr std::uint32_t kLongestRun = 100;
// Of random bytes nothing is learned about how much time there is for encoding others.
constexpr double kWellEncoded = 0.85;
// A shorter wait than this is the kernel's bookkeeping.
constexpr double kNoWait = 0.01;

// How much the queue holds is seen when it is full, and guessed before: TCP's grows to megabytes with Linux' defaults.
constexpr double kFirstFull = 1 << 20;
constexpr double kLeastFull = 1 << 16;
constexpr double kFadeFull = 1.0 / 4;
// No more than this in the queue, and the link may have run dry meanwhile.
constexpr double kDry = 1 << 14;
// A link that runs dry wants bytes now: less is paid for saving them until the queue is half full again.
constexpr double kHurry = 0.5;
// How far the price goes towards that of a link without a queue, with each block that found none.
constexpr double kTurn = 0.2;
// What the link took is forgotten over so many bytes. A block that took so many times as long as blocks usually do
// stands for no more than that.
constexpr double kRemembered = 4 << 20;
constexpr double kLongestLook = 16;

// How fast the past fades, with each block or with each wait. Speeds change least of all, and are noisy.
constexpr double kFadeContent = 1.0 / 24;
constexpr double kFadeSpeed = 1.0 / 100;
constexpr double kFadeSend = 1.0 / 8;
// The table's times are worth as much as having seen so many blocks.
constexpr double kSpeedTrust = 8;
// One strange measurement (an interrupt, a page fault) moves no more than this.
constexpr double kStrangest = 4;

// A block that was encoded after others went raw counts for them, too, with no more weight than this.
constexpr double kMostWeight = 1.0 / 16;
// Nothing stays the same for ever.
constexpr double kStickiest = 0.98;

// Trials: the first after 4 raw blocks, and half as often each time that one saved nothing.
constexpr std::uint32_t kLeastPatience = 4;
constexpr std::uint32_t kMostPatience = 32;
constexpr double kSavesNothing = 0.05;

// Savings of one class differ by about this much.
constexpr double kClassWidth = 0.08;

constexpr double kFirstSendNsPerByte = 0.3;
// A request and the copy of what comes back.
constexpr double kFirstHandOver = 0.1;
// Neighbouring blocks' sizes correlate by 0.83 on a busy guest, but a lane's blocks are not neighbours.
constexpr double kFirstStickiness = 0.6;
constexpr double kFirstChances = 4;

// A class is never quite out of the question; less so as a guess than once a block has been encoded.
constexpr double kLeastBelief = 1e-3;
constexpr double kLeastGuess = 0.03;
// The sample is one of many that might have been taken.
constexpr double kLeastSpread = 0.15;
// A look that was right told what is saved to within this much. What repeats at a distance, no look can see.
constexpr double kRightLook = 0.25;
constexpr double kFirstTrust = 0.95;
constexpr double kMostTrust = 0.99;

constexpr auto kLongest = std::chrono::hours(1);
constexpr double kMostBytesCounted = 1e12;

double ns(Duration d) {
  return static_cast<double>(std::clamp<Duration>(d, Duration::zero(), kLongest).count());
}

double queue(std::size_t n) {
  return std::min(static_cast<double>(n), kMostBytesCounted);
}

double bytes(std::size_t n) {
  return std::clamp(static_cast<double>(n), 1.0, kMostBytesCounted);
}

}  // namespace

Governor::Governor() noexcept
    : send_ns_per_byte_(kFirstSendNsPerByte),
      hand_over_ns_per_byte_(kFirstHandOver),
      price_(kFirstPrice),
      steady_price_(kFirstPrice),
      full_(kFirstFull) {
  pace_.fill(1);
  for (Content& content : content_) {
    content.usual = kClassShares;
    content.last = kClassShares;
    content.alike = kFirstStickiness * kFirstChances;
    content.chances = kFirstChances;
    content.patience = kLeastPatience;
    content.trust = kFirstTrust;
  }
}

bool Governor::link_is_idle() const noexcept {
  return price_ < kIdlePrice;
}

double Governor::stickiness(const Content& content) const noexcept {
  return std::clamp(content.alike / std::max(content.chances, 1e-6), 0.0, kStickiest);
}

/// The next block is of the last one's class with some probability, which fades with each block that went unseen, or
/// else any of the usual ones.
Governor::Belief Governor::expect(const Content& content) const noexcept {
  const double same = std::pow(stickiness(content), 1 + content.unseen);
  Belief belief;
  for (std::size_t c = 0; c < kContentClasses; ++c) {
    belief[c] = same * content.last[c] + (1 - same) * content.usual[c];
  }
  return belief;
}

/// What a look at the block's bytes adds to what its neighbours tell, as far as looks have been right.
void Governor::sharpen(const Content& content, double entropy, Belief& belief) noexcept {
  if (entropy < 0) return;
  Belief likely;
  double all = 0;
  for (std::size_t c = 0; c < kContentClasses; ++c) {
    const double spread = std::max(kClassEntropy[c].spread, kLeastSpread);
    const double off = (std::min(entropy, 8.0) - kClassEntropy[c].mean) / spread;
    likely[c] = 1 / ((1 + off * off) * (1 + off * off) * spread);
    all += likely[c];
  }
  double sum = 0;
  for (std::size_t c = 0; c < kContentClasses; ++c) {
    belief[c] = std::max(belief[c], kLeastGuess) * std::lerp(1.0 / kContentClasses, likely[c] / all, content.trust);
    sum += belief[c];
  }
  for (double& b : belief) b /= sum;
}

double Governor::cost(std::size_t level, std::size_t content_class, double size) const noexcept {
  const CodecLevel& r = codec_level(level);
  const LevelOnClass& on = r.on[content_class];
  const double encoding = (r.ns_per_block + on.ns_per_byte * size) * machine_ * pace_[level];
  return encoding + (price_ + send_ns_per_byte_) * size * (1 - on.saved);
}

double Governor::cost_at_device(std::size_t content_class, double size, double wait) const noexcept {
  const double left = 1 - saved_by(kDeviceLevel, content_class);
  return size * (hand_over_ns_per_byte_ + wait + (price_ + send_ns_per_byte_) * left);
}

std::size_t Governor::choose(BlockKind kind, std::size_t block_bytes, double entropy,
                             std::optional<double> device_wait) noexcept {
  Content& content = content_[kind == BlockKind::kChanges];
  const double size = bytes(block_bytes);
  Belief belief = expect(content);
  sharpen(content, entropy, belief);
  const double same = stickiness(content);

  // Of each level: on what is expected, and on what this lane usually sees.
  std::array<double, kCodecLevels> expected{};
  std::array<double, kCodecLevels> usual{};
  std::array<std::array<double, kContentClasses>, kCodecLevels> costs;
  for (std::size_t r = 0; r < kCodecLevels; ++r) {
    for (std::size_t c = 0; c < kContentClasses; ++c) {
      costs[r][c] = cost(r, c, size);
      expected[r] += belief[c] * costs[r][c];
      usual[r] += content.usual[c] * costs[r][c];
    }
  }
  const auto best = static_cast<std::size_t>(std::ranges::min_element(expected) - expected.begin());
  if (device_wait) {
    double by_device = 0;
    for (std::size_t c = 0; c < kContentClasses; ++c) by_device += belief[c] * cost_at_device(c, size, *device_wait);
    if (by_device < expected[best]) return kDeviceLevel;
  }
  if (best != 0 || content.unseen < content.patience) return best;

  // Raw teaches no more than a look. So one is encoded as a trial now and then, if what busy guests usually hold would
  // be worth it, ...
  const auto trial =
      static_cast<std::size_t>(std::ranges::min_element(expected.begin() + 1, expected.end()) - expected.begin());
  double worth = 0;
  for (std::size_t c = 0; c < kContentClasses; ++c) worth += kClassShares[c] * (costs[0][c] - costs[trial][c]);
  if (worth > 0) return trial;
  // ... or if knowing this block's class would save more, on the blocks after it that are alike, than looking costs.
  double knowing = 0;
  for (std::size_t c = 0; c < kContentClasses; ++c) {
    double least = costs[0][c];
    for (std::size_t r = 0; r < kCodecLevels; ++r) least = std::min(least, same * costs[r][c] + (1 - same) * usual[r]);
    knowing += belief[c] * least;
  }
  return expected[trial] - expected[0] < (expected[0] - knowing) / (1 - same) ? trial : 0;
}

void Governor::learn(const BlockOutcome& outcome) noexcept {
  if (outcome.level > kDeviceLevel) return;
  if (outcome.level == kDeviceLevel) {
    const double took = std::clamp(ns(outcome.encoding) / bytes(outcome.block_bytes), 0.01, 10.0);
    hand_over_ns_per_byte_ += kFadeSend * (took - hand_over_ns_per_byte_);
  }
  send_ns_per_byte_ += kFadeSend * (std::clamp(ns(outcome.sending) / bytes(outcome.wire_bytes),
                                               send_ns_per_byte_ / kStrangest, send_ns_per_byte_ * kStrangest) -
                                    send_ns_per_byte_);
  send_ns_per_byte_ = std::clamp(send_ns_per_byte_, 0.01, 100.0);
  learn_content(outcome);
  learn_price(outcome);
}

void Governor::learn_content(const BlockOutcome& outcome) noexcept {
  Content& content = content_[outcome.kind == BlockKind::kChanges];
  if (outcome.level == 0) {
    content.unseen = std::min(content.unseen + 1, 1'000'000U);
    if (outcome.entropy < 0) return;
    Belief looked = expect(content);
    sharpen(content, outcome.entropy, looked);
    for (std::size_t c = 0; c < kContentClasses; ++c) content.usual[c] += kFadeContent * (looked[c] - content.usual[c]);
    return;
  }
  const double saved = std::max(0.0, 1 - bytes(outcome.wire_bytes) / bytes(outcome.block_bytes));
  Belief before = expect(content);
  sharpen(content, outcome.entropy, before);
  Belief seen;
  double sum = 0;
  for (std::size_t c = 0; c < kContentClasses; ++c) {
    const double off = (saved - saved_by(outcome.level, c)) / kClassWidth;
    const double likely = 1 / (1 + off * off);
    seen[c] = std::max(before[c], kLeastBelief) * likely * likely;
    sum += seen[c];
  }
  for (double& s : seen) s /= sum;
  if (outcome.level < kCodecLevels) learn_speed(outcome, seen);
  if (outcome.entropy >= 0) {
    double looked = 0;
    for (std::size_t c = 0; c < kContentClasses; ++c) looked += before[c] * saved_by(outcome.level, c);
    const double right = std::abs(looked - saved) < kRightLook ? kMostTrust : 0;
    content.trust += kFadeContent * (right - content.trust);
  }

  double alike = 0;
  double by_chance = 0;
  for (std::size_t c = 0; c < kContentClasses; ++c) {
    alike += content.last[c] * seen[c];
    by_chance += content.usual[c] * seen[c];
  }
  if (content.unseen == 0) {
    content.alike += alike - by_chance - kFadeContent * content.alike;
    content.chances += 1 - by_chance - kFadeContent * content.chances;
  }
  // It stands for the blocks that went raw, too, of which looks alone have told.
  const double weight = std::min(kMostWeight, kFadeContent * (1 + content.unseen));
  for (std::size_t c = 0; c < kContentClasses; ++c) content.usual[c] += weight * (seen[c] - content.usual[c]);
  const bool tried = content.unseen >= content.patience;
  content.last = seen;
  content.unseen = 0;
  if (tried) {
    content.patience = saved < kSavesNothing ? std::min(content.patience * 2, kMostPatience) : kLeastPatience;
  }
}

void Governor::learn_speed(const BlockOutcome& outcome, const Belief& belief) noexcept {
  const CodecLevel& level = codec_level(outcome.level);
  const double size = bytes(outcome.block_bytes);
  double table = level.ns_per_block;
  for (std::size_t c = 0; c < kContentClasses; ++c) table += belief[c] * level.on[c].ns_per_byte * size;
  double& pace = pace_[outcome.level];
  const double off = std::clamp(ns(outcome.encoding) / (table * machine_ * pace), 1 / kStrangest, kStrangest) - 1;
  encoded_ = std::min(encoded_ + 1, 1'000'000U);
  const double fade = std::max(kFadeSpeed, 1 / (kSpeedTrust + encoded_));
  // A slow machine is slow with every level; what is left is the level's own.
  machine_ = std::clamp(machine_ * (1 + fade * off), 1.0 / 16, 16.0);
  pace = std::clamp(pace * (1 + fade / 2 * off), 1.0 / 4, 4.0);
}

void Governor::learn_price(const BlockOutcome& outcome) noexcept {
  const double waited = ns(outcome.waited);
  const double for_receiver = std::min(ns(outcome.waited_for_receiver), waited);
  const double elapsed = std::max({ns(outcome.elapsed), waited, 1.0});
  const double wait = (waited - for_receiver) / elapsed;
  const bool for_link = for_receiver <= waited / 2;
  if (for_link) learn_link_rate(outcome, elapsed);
  const double under_way = link_rate_ * ns(outcome.round_trip);
  const double before = queue(outcome.queued_before);
  const double after = queue(outcome.queued_after);
  const bool was_full = waited > kNoWait * elapsed;

  const double length = std::max(0.0, after - under_way);
  full_ = std::max({was_full ? full_ + kFadeFull * (length - full_) : full_, length, kLeastFull});
  // 0: half full or more; 1: the link has run dry.
  const double empty = std::clamp(1 - 2 * (before - under_way) / full_, 0.0, 1.0);

  if (was_full) dry_run_ = 0;
  if (was_full && for_link && link_rate_ > 0 && before <= under_way + kDry) {
    // A queue that holds less than a block: lane and link take turns, and each byte costs just its time on the link.
    full_run_ = 0;
    steady_price_ *= std::pow(std::clamp(1 / (link_rate_ * steady_price_), 1 / kStrangest, kStrangest), kTurn);
  } else if (was_full) {
    full_run_ = wait > kLongWait ? std::min(full_run_ + 1, kLongestRun) : 0;
    const double haste = 1 + kSteeper * (full_run_ - std::min(full_run_, kShortRun));
    steady_price_ *= 1 + kRise * (wait - kTargetWait) * haste;
    raise_to_charge(outcome, wait);
  } else {
    full_run_ = 0;
    dry_run_ = empty > kNearlyDry ? std::min(dry_run_ + 1, kLongestRun) : 0;
    const double haste = 1 + kSteeperFall * (dry_run_ - std::min(dry_run_, kShortDryRun));
    steady_price_ /= 1 + (link_rate_ == 0 ? kFirstFall * empty : kRise * kTargetWait + kFall * empty * haste);
  }
  // More compression would only keep the receiver busier.
  steady_price_ /= 1 + for_receiver / elapsed;
  const double highest = link_rate_ > 0 ? std::min(kHighestPrice, kGenerosity / link_rate_) : kHighestPrice;
  steady_price_ = std::clamp(steady_price_, kLowestPrice, std::max(highest, kLowestPrice));
  price_ = std::max(kLowestPrice, was_full ? steady_price_ : steady_price_ * std::exp(-kHurry * empty));
  // The price goes back to what the queue in sight tells as soon as fences are answered quickly again.
  if (outcome.way_rate > 0) price_ = std::max(price_, std::min(kHighestPrice, 1 / outcome.way_rate));
}

/// While the link is at work it takes just its rate, and never more than that: what was queued and is not any more. It
/// was at work all the time if the queue still held something when send() began, else only during send().
void Governor::learn_link_rate(const BlockOutcome& outcome, double elapsed) noexcept {
  const double waited = ns(outcome.waited);
  const double wire = bytes(outcome.wire_bytes);
  const double before = queue(outcome.queued_before);
  const double after = queue(outcome.queued_after);
  double taken = queue(outcome.queued_at_start) + wire - after;
  double time = elapsed;
  if (before <= link_rate_ * ns(outcome.round_trip) + kDry) {
    if (waited > kNoWait * elapsed) {
      taken = before + wire - after;
      time = std::max(1.0, ns(outcome.sending) + waited);
    } else if (link_rate_ == 0 || taken < link_rate_ * elapsed) {
      return;
    }
  }
  if (link_rate_ == 0 && taken <= 0) return;
  // A link that took nothing for once (a lost packet, a frozen host) has not become slow.
  if (link_rate_ > 0) time = std::min(time, kLongestLook * std::max(taken, wire) / link_rate_);
  taken_bytes_ = std::max(0.0, taken_bytes_ + taken);
  taken_ns_ += time;
  link_rate_ = std::max(taken_bytes_, 1.0) / taken_ns_;
  if (taken_bytes_ > kRemembered) {
    taken_bytes_ /= 2;
    taken_ns_ /= 2;
  }
}

/// A lane that waits for the link block after block need not feel its way: a byte is worth what the link charges for
/// it, and where the lane waited although the block was encoded, as many times more as it waited longer than it worked.
void Governor::raise_to_charge(const BlockOutcome& outcome, double wait) noexcept {
  if (full_run_ == 0 || link_rate_ == 0) return;
  if (full_run_ >= kShortRun) steady_price_ = std::max(steady_price_, 1 / link_rate_);
  if (bytes(outcome.wire_bytes) < kWellEncoded * bytes(outcome.block_bytes)) {
    steady_price_ = std::max(steady_price_, wait / std::max(1 - wait, 0.05) / link_rate_);
  }
}

}  // namespace godwit
