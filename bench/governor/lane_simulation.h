// Lanes that share cores and a link, in simulated time: what a way to choose codecs would have made of it.
//
//   lane:  read + encode + send ---> socket buffer ---> link
//          (cores, shared fairly)    (waits if full)    (shared fairly by the lanes that have something in it)
//   encoding threads: encode what lanes hand over, if one is free; blocks leave a lane in the order in which they came
//
// The real Governor runs in it, on simulated outcomes. Times are doubles in nanoseconds; nothing depends on the real
// clock, chance comes from a seed.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <optional>
#include <random>
#include <span>
#include <vector>

#include "engine/governor.h"
#include "engine/sweep_order.h"

namespace godwit::simulation {

/// What a level makes of a block: bytes on the wire, and the time that it takes.
struct Tried {
  std::size_t wire = 0;
  double ns = 0;
};
struct Block {
  std::size_t bytes = 0;
  double entropy = kUnsampled;
  std::array<Tried, kCodecLevels> on{};
};

struct Setting {
  unsigned cores = 1;
  unsigned lanes = 1;
  unsigned encoding_threads = 0;             ///< beside the lanes
  double link_gbit = 10;                     ///< per second
  std::size_t socket_buffer = 2 << 20;       ///< of each lane, bytes
  double round_trip_ns = 0;                  ///< confirmations come so much later
  std::optional<double> told_round_trip_ns;  ///< as the lane believes, if not just that
  double read_ns_per_byte = 0.15;            ///< guest RAM into the lane's buffer, with the zero check
  double send_ns_per_byte = 0.3;             ///< the kernel's copy, per byte on the wire
  double noise = 0.2;                        ///< times differ by up to this much, either way
  std::uint64_t seed = 1;
  std::size_t blocks = 4096;  ///< in all; the corpus is repeated
};

struct Result {
  double page_gbit = 0;         ///< pages that arrived, per second
  double wire_share = 0;        ///< bytes on the wire over bytes of pages
  double lane_ns_per_byte = 0;  ///< CPU time of the lanes, per byte of pages
  double link_use = 0;          ///< share of the time in which the link carried something
};

/// A way to choose. Of `block` a governor may see nothing but its size and its entropy.
class Chooser {
 public:
  virtual ~Chooser() = default;
  virtual std::size_t choose(unsigned lane, const Block& block) = 0;
  virtual void learn(unsigned, const BlockOutcome&) {}
  /// What choosing costs.
  virtual double ns_per_block() const { return 0; }
};

class Fixed final : public Chooser {
 public:
  explicit Fixed(std::size_t level) : level_(level) {}
  std::size_t choose(unsigned, const Block&) override { return level_; }

 private:
  std::size_t level_;
};

/// Knows what each level would make of each block, and keeps to one price.
class Oracle final : public Chooser {
 public:
  Oracle(const Setting& setting, double price) : price_(setting.send_ns_per_byte + price) {}
  std::size_t choose(unsigned, const Block& block) override {
    const auto cost = [&](const Tried& tried) { return tried.ns + price_ * static_cast<double>(tried.wire); };
    return static_cast<std::size_t>(std::ranges::min_element(block.on, {}, cost) - block.on.begin());
  }

 private:
  double price_;
};

class Governed final : public Chooser {
 public:
  explicit Governed(unsigned lanes) : governors_(lanes) {}
  std::size_t choose(unsigned lane, const Block& block) override {
    return governors_[lane].choose(BlockKind::kPages, block.bytes, block.entropy);
  }
  void learn(unsigned lane, const BlockOutcome& outcome) override { governors_[lane].learn(outcome); }
  double ns_per_block() const override { return 1200; }  // sampled_entropy(), from memory
  const Governor& of(unsigned lane) const { return governors_[lane]; }

 private:
  std::vector<Governor> governors_;
};

class Simulation {
 public:
  Simulation(const Setting& setting, std::span<const Block> corpus, Chooser& chooser)
      : setting_(setting), corpus_(corpus), chooser_(chooser), random_(setting.seed), lanes_(setting.lanes) {}

  Result run() {
    for (unsigned i = 0; i < setting_.lanes; ++i) {
      lanes_[i].left = setting_.blocks / setting_.lanes;
      go_on(i);
    }
    while (advance()) {
    }
    return {.page_gbit = static_cast<double>(page_bytes_) * 8 / now_,
            .wire_share = static_cast<double>(wire_bytes_) / static_cast<double>(page_bytes_),
            .lane_ns_per_byte = lane_ns_ / static_cast<double>(page_bytes_),
            .link_use = link_ns_ / now_};
  }

 private:
  static constexpr std::size_t kDepth = 8;  // EncoderPool's

  /// Of a lane. The first two work.
  enum class State { kPreparing, kSending, kWaiting, kBlocked, kDone };
  struct OnTheWay {
    double encoding = 0;  ///< ns left, of an encoding thread; 0: it is ready
    double sending = 0;   ///< ns
    BlockOutcome outcome;
  };
  struct Lane {
    State state = State::kDone;
    std::size_t left = 0;  ///< blocks
    unsigned sweeps = 0;
    SweepOrder order{0, 0, {}};
    double work = 0;                  ///< ns left, of the state
    std::deque<OnTheWay> on_the_way;  ///< the oldest first; the newest is being prepared in that state
    double in_buffer = 0;             ///< bytes
    double under_way = 0;             ///< bytes that the link has taken and the peer has not confirmed yet
    std::size_t queued = 0;           ///< at the last outcome
    double since = 0;                 ///< the last outcome
    double waits_since = 0;
  };

  double noisy(double ns) {
    return ns * std::uniform_real_distribution<double>(1 - setting_.noise, 1 + setting_.noise)(random_);
  }
  static Duration nanoseconds(double ns) { return Duration(static_cast<std::int64_t>(ns)); }

  /// Lanes sweep the corpus again and again, each time another one's part of it.
  const Block& next_block(unsigned number) {
    Lane& lane = lanes_[number];
    while (true) {
      if (const auto next = lane.order.next(true)) return corpus_[next->value];
      const unsigned part = (number + lane.sweeps++) % setting_.lanes;
      lane.order = {static_cast<std::uint32_t>(corpus_.size()), part, {setting_.lanes}};
    }
  }

  /// What a lane does when it has done something (SourceLane::sweep()).
  void go_on(unsigned number) {
    Lane& lane = lanes_[number];
    if (!lane.on_the_way.empty() && lane.on_the_way.front().encoding <= 0) return begin_to_send(lane);
    if (lane.left > 0 && lane.on_the_way.size() < kDepth) return begin_block(number);
    lane.state = lane.on_the_way.empty() ? State::kDone : State::kBlocked;
  }

  void begin_block(unsigned number) {
    Lane& lane = lanes_[number];
    --lane.left;
    const Block& block = next_block(number);
    const std::size_t level = chooser_.choose(number, block);
    const Tried& tried = block.on.at(level);
    const double encoding = noisy(tried.ns);
    const double sending = noisy(setting_.send_ns_per_byte * static_cast<double>(tried.wire));
    const bool handed_over = level != 0 && at_pool_ < setting_.encoding_threads;
    at_pool_ += handed_over;
    const double preparing = chooser_.ns_per_block() + setting_.read_ns_per_byte * static_cast<double>(block.bytes);
    lane.work = preparing + (handed_over ? 0 : encoding);
    lane.on_the_way.push_back(
        {.encoding = handed_over ? encoding : 0,
         .sending = sending,
         .outcome = {.level = level,
                     .entropy = block.entropy,
                     .block_bytes = block.bytes,
                     .wire_bytes = tried.wire,
                     .encoding = nanoseconds(encoding),
                     .sending = nanoseconds(sending),
                     .round_trip = nanoseconds(setting_.told_round_trip_ns.value_or(setting_.round_trip_ns))}});
    lane.state = State::kPreparing;
    page_bytes_ += block.bytes;
    wire_bytes_ += tried.wire;
    lane_ns_ += preparing + encoding + sending;
  }

  /// The link takes what is sent while the lane still copies.
  void begin_to_send(Lane& lane) {
    OnTheWay& oldest = lane.on_the_way.front();
    oldest.outcome.queued_at_start = lane.queued;
    oldest.outcome.queued_before = unconfirmed(lane);
    lane.in_buffer += static_cast<double>(oldest.outcome.wire_bytes);
    lane.work = oldest.sending;
    lane.state = State::kSending;
  }

  void end_block(unsigned number) {
    Lane& lane = lanes_[number];
    BlockOutcome outcome = lane.on_the_way.front().outcome;
    lane.on_the_way.pop_front();
    outcome.waited = nanoseconds(now_ - lane.waits_since);
    outcome.queued_after = lane.queued = unconfirmed(lane);
    outcome.elapsed = nanoseconds(now_ - lane.since);
    lane.since = now_;
    chooser_.learn(number, outcome);
    go_on(number);
  }

  static bool is_working(const Lane& lane) { return lane.state == State::kPreparing || lane.state == State::kSending; }
  /// A thread of the pool is at work on it; the newest is with its lane while that prepares it.
  static bool is_at_pool(const Lane& lane, std::size_t i) {
    return lane.on_the_way[i].encoding > 0 && (lane.state != State::kPreparing || i + 1 < lane.on_the_way.size());
  }
  static std::size_t unconfirmed(const Lane& lane) { return static_cast<std::size_t>(lane.in_buffer + lane.under_way); }
  /// The link takes `taken` bytes evenly over `step`; what it took earlier fades away with the round trip.
  void take(Lane& lane, double taken, double step) const {
    if (setting_.round_trip_ns <= 0) return;
    const double trips = step / setting_.round_trip_ns;
    const double left = std::exp(-trips);
    lane.under_way = lane.under_way * left + (trips > 1e-9 ? taken * (1 - left) / trips : taken);
  }
  double excess(const Lane& lane) const { return lane.in_buffer - static_cast<double>(setting_.socket_buffer); }

  /// To the next moment at which something changes; false when all is sent.
  bool advance() {
    unsigned working = 0;
    unsigned sending = 0;
    for (const Lane& lane : lanes_) {
      working += is_working(lane);
      for (std::size_t i = 0; i < lane.on_the_way.size(); ++i) working += is_at_pool(lane, i);
      sending += lane.in_buffer > 0;
    }
    if (working + sending == 0) return false;
    const double speed = std::min(1.0, setting_.cores / std::max(1.0, static_cast<double>(working)));
    const double drain = setting_.link_gbit / 8 / std::max(1.0, static_cast<double>(sending));
    double step = std::numeric_limits<double>::infinity();
    for (const Lane& lane : lanes_) {
      if (is_working(lane)) step = std::min(step, lane.work / speed);
      if (lane.state == State::kWaiting) step = std::min(step, excess(lane) / drain);
      if (lane.in_buffer > 0) step = std::min(step, lane.in_buffer / drain);
      for (std::size_t i = 0; i < lane.on_the_way.size(); ++i) {
        if (is_at_pool(lane, i)) step = std::min(step, lane.on_the_way[i].encoding / speed);
      }
    }
    now_ += step;
    if (sending > 0) link_ns_ += step;
    for (unsigned i = 0; i < setting_.lanes; ++i) {
      Lane& lane = lanes_[i];
      const double left = lane.in_buffer - step * drain < 1e-3 ? 0 : lane.in_buffer - step * drain;
      take(lane, lane.in_buffer - left, step);
      lane.in_buffer = left;
      for (std::size_t b = 0; b < lane.on_the_way.size(); ++b) {
        OnTheWay& block = lane.on_the_way[b];
        if (!is_at_pool(lane, b) || (block.encoding -= step * speed) >= 1e-3) continue;
        block.encoding = 0;
        --at_pool_;
      }
      if (lane.state == State::kBlocked && lane.on_the_way.front().encoding <= 0) {
        go_on(i);
      } else if (is_working(lane) && (lane.work -= step * speed) < 1e-3) {
        if (lane.state == State::kPreparing) {
          go_on(i);
        } else {
          lane.waits_since = now_;
          lane.state = State::kWaiting;
        }
      }
      if (lane.state == State::kWaiting && excess(lane) < 1e-3) end_block(i);
    }
    return true;
  }

  Setting setting_;
  std::span<const Block> corpus_;
  Chooser& chooser_;
  std::mt19937_64 random_;
  std::vector<Lane> lanes_;
  unsigned at_pool_ = 0;  ///< blocks
  double now_ = 0;
  double link_ns_ = 0;
  double lane_ns_ = 0;
  std::uint64_t page_bytes_ = 0;
  std::uint64_t wire_bytes_ = 0;
};

}  // namespace godwit::simulation
