#include "engine/governor.h"

#include <algorithm>
#include <cmath>

namespace godwit {

namespace {

// Prices, in lane nanoseconds per byte on the wire. The first is what a link of some 2 Gbit/s charges a single lane: a
// fast link is not kept waiting for long, and a slow one corrects it with its first wait.
constexpr double kFirstPrice = 4;
constexpr double kLowestPrice = 0.02;
constexpr double kHighestPrice = 1000;
// Below this, hashing a page to find what changed in it costs more than the bytes that it saves.
constexpr double kIdlePrice = 0.1;

// A lane that never waits cannot tell a full link from an idle one: so it aims at waiting a little.
constexpr double kTargetWait = 0.04;
// Above it the link, not the lane, sets the pace: no need to feel one's way.
constexpr double kMuchWait = 0.3;

// How much more than the link's charge a lane pays for a byte while it would otherwise only wait. More makes little
// difference to what arrives, and burns time of cores that the host has other uses for.
constexpr double kGenerosity = 6;

constexpr double kLongestStride = 0.5;
constexpr double kShortestStride = 0.03;
constexpr double kStrideGrows = 1.5;
constexpr double kStrideShrinks = 0.5;

// How fast the past fades, in blocks.
constexpr double kFadeContent = 1.0 / 32;
constexpr double kFadeSpeed = 1.0 / 8;
constexpr double kFadeCharge = 1.0 / 8;
// One strange measurement (an interrupt, a page fault) moves no more than this.
constexpr double kStrangest = 4;

// Probes: the first after 4 raw blocks, and half as often each time that one was for nothing.
constexpr std::uint32_t kLeastPatience = 4;
constexpr std::uint32_t kMostPatience = 32;

// Savings of one class differ by about this much.
constexpr double kClassWidth = 0.06;

constexpr double kFirstSendNsPerByte = 0.3;
// Neighbouring blocks' sizes correlate by 0.83 on a busy guest, but a lane's blocks are not neighbours.
constexpr double kFirstStickiness = 0.6;
constexpr double kFirstChances = 4;

constexpr auto kLongest = std::chrono::hours(1);
constexpr double kMostBytes = 1e12;

double ns(Duration d) {
  return static_cast<double>(std::clamp<Duration>(d, Duration::zero(), kLongest).count());
}

double bytes(std::size_t n) {
  return std::clamp(static_cast<double>(n), 1.0, kMostBytes);
}

}  // namespace

Governor::Governor() noexcept : send_ns_per_byte_(kFirstSendNsPerByte), price_(kFirstPrice), stride_(kLongestStride) {
  pace_.fill(1);
  for (Content& content : content_) {
    content.usual = kClassShares;
    content.last = kClassShares;
    content.alike = kFirstStickiness * kFirstChances;
    content.chances = kFirstChances;
    content.patience = kLeastPatience;
  }
}

bool Governor::link_is_idle() const noexcept {
  return price_ < kIdlePrice;
}

double Governor::stickiness(const Content& content) const noexcept {
  return std::clamp(content.alike / content.chances, 0.0, 0.95);
}

/// The next block is of the last one's class with some probability, which fades with each block that went unseen, or
/// else any of the usual ones.
Governor::Belief Governor::expect(const Content& content) const noexcept {
  const double same = std::pow(stickiness(content), 1 + content.unseen);
  Belief belief;
  for (std::size_t c = 0; c < kContentClasses; ++c) belief[c] = same * content.last[c] + (1 - same) * content.usual[c];
  return belief;
}

double Governor::cost(std::size_t rung, std::size_t content_class, double size) const noexcept {
  const Rung& r = rung_at(rung);
  const RungOnClass& on = r.on[content_class];
  const double encoding = (r.ns_per_block + on.ns_per_byte * size) * machine_ * pace_[rung];
  return encoding + (price_ + send_ns_per_byte_) * size * (1 - on.saved);
}

std::size_t Governor::choose(BlockKind kind, std::size_t block_bytes) noexcept {
  Content& content = content_[kind == BlockKind::kChanges];
  const double size = bytes(block_bytes);
  const Belief belief = expect(content);
  const double same = stickiness(content);

  // cheapest: without knowing more than now; usual: what a rung costs on the usual mixture.
  std::array<double, kRungs> expected{};
  std::array<double, kRungs> usual{};
  std::array<std::array<double, kContentClasses>, kRungs> costs;
  for (std::size_t r = 0; r < kRungs; ++r) {
    for (std::size_t c = 0; c < kContentClasses; ++c) {
      costs[r][c] = cost(r, c, size);
      expected[r] += belief[c] * costs[r][c];
      usual[r] += content.usual[c] * costs[r][c];
    }
  }
  const auto best = static_cast<std::size_t>(std::ranges::min_element(expected) - expected.begin());
  if (best != 0 || content.unseen < content.patience) return best;

  // Raw teaches nothing. What would it be worth to know this block's class, for the blocks after it that are alike?
  double knowing = 0;
  double not_knowing = expected[0];
  for (std::size_t c = 0; c < kContentClasses; ++c) {
    double least = costs[0][c];
    for (std::size_t r = 0; r < kRungs; ++r) least = std::min(least, same * costs[r][c] + (1 - same) * usual[r]);
    knowing += belief[c] * least;
  }
  const double worth = (not_knowing - knowing) / (1 - same);
  const auto probe =
      static_cast<std::size_t>(std::ranges::min_element(expected.begin() + 1, expected.end()) - expected.begin());
  return expected[probe] - expected[0] < worth ? probe : 0;
}

void Governor::learn(const BlockOutcome& outcome) noexcept {
  if (outcome.rung >= kRungs) return;
  send_ns_per_byte_ += kFadeSpeed * (std::clamp(ns(outcome.sending) / bytes(outcome.wire_bytes),
                                                send_ns_per_byte_ / kStrangest, send_ns_per_byte_ * kStrangest) -
                                     send_ns_per_byte_);
  send_ns_per_byte_ = std::clamp(send_ns_per_byte_, 0.01, 100.0);
  learn_content(outcome);
  learn_price(outcome);
}

void Governor::learn_content(const BlockOutcome& outcome) noexcept {
  Content& content = content_[outcome.kind == BlockKind::kChanges];
  if (outcome.rung == 0) {
    content.unseen = std::min(content.unseen + 1, 1'000'000U);
    return;
  }
  const double saved = std::max(0.0, 1 - bytes(outcome.wire_bytes) / bytes(outcome.block_bytes));
  const Belief before = expect(content);
  Belief seen;
  double sum = 0;
  for (std::size_t c = 0; c < kContentClasses; ++c) {
    const double off = (saved - rung_at(outcome.rung).on[c].saved) / kClassWidth;
    const double likely = 1 / (1 + off * off);
    seen[c] = std::max(before[c], 1e-3) * likely * likely;
    sum += seen[c];
  }
  for (double& s : seen) s /= sum;
  learn_speed(outcome, seen);

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
  // It stands for the blocks that nobody saw, too: else what goes raw would be forgotten.
  const double weight = std::min(0.5, kFadeContent * (1 + content.unseen));
  for (std::size_t c = 0; c < kContentClasses; ++c) content.usual[c] += weight * (seen[c] - content.usual[c]);
  const bool probed = content.unseen >= content.patience;
  content.last = seen;
  content.unseen = 0;
  if (probed) {
    const bool in_vain = saved < 0.05;
    content.patience = in_vain ? std::min(content.patience * 2, kMostPatience) : kLeastPatience;
  }
}

void Governor::learn_speed(const BlockOutcome& outcome, const Belief& belief) noexcept {
  const Rung& rung = rung_at(outcome.rung);
  const double size = bytes(outcome.block_bytes);
  double table = rung.ns_per_block;
  for (std::size_t c = 0; c < kContentClasses; ++c) table += belief[c] * rung.on[c].ns_per_byte * size;
  double& pace = pace_[outcome.rung];
  const double off = std::clamp(ns(outcome.encoding) / (table * machine_ * pace), 1 / kStrangest, kStrangest) - 1;
  // A slow machine is slow with every rung; what is left is the rung's own.
  machine_ = std::clamp(machine_ * (1 + kFadeSpeed * off), 1.0 / 16, 16.0);
  pace = std::clamp(pace * (1 + kFadeSpeed / 2 * off), 1.0 / 4, 4.0);
}

void Governor::learn_price(const BlockOutcome& outcome) noexcept {
  const double waited = ns(outcome.waited);
  const double for_receiver = std::min(ns(outcome.waited_for_receiver), waited);
  const double for_link = waited - for_receiver;
  const double elapsed = std::max({ns(outcome.elapsed), waited, 1.0});
  const double share = for_link / elapsed;

  if (for_link > 0) {
    const double charge = elapsed / bytes(outcome.wire_bytes);
    charge_ += (charge_ == 0 ? 1 : kFadeCharge) * (charge - charge_);
  }
  const int direction = share > kTargetWait && for_link > for_receiver ? 1 : -1;
  stride_ =
      std::clamp(stride_ * (direction == direction_ ? kStrideGrows : kStrideShrinks), kShortestStride, kLongestStride);
  direction_ = direction;
  if (direction > 0) {
    price_ *= 1 + stride_ * std::min(1.0, share / kMuchWait);
    if (share > kMuchWait) price_ = std::max(price_, std::min(charge_, kHighestPrice));
  } else {
    price_ /= 1 + stride_;
  }
  double highest = kHighestPrice;
  if (charge_ > 0) highest = std::min(highest, kGenerosity * charge_);
  price_ = std::clamp(price_, kLowestPrice, std::max(highest, kLowestPrice));
}

}  // namespace godwit
