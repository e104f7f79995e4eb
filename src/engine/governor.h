// The governor of `--codec auto`: with which codec a lane encodes the block at hand. No clock, no I/O, no locks.
//
//   choose(block) ---> encode, send ---> learn(what came of it)
//        ^                                   |
//        |   price of a byte on the wire  <--+  did send() wait for the link, or the link for the lane?
//        +-- what the block is made of    <--+  what did the last blocks of this lane save?
//        +-- and what a look at some of its bytes tells (block_sample.h)
//
// A lane has two things to spend, its own time and the link's. The governor keeps an exchange rate between them, the
// price: nanoseconds of the lane that one byte on the wire is worth. It rises while send() waits for the link and falls
// while the link runs dry, so it comes to rest where both are used up. Each block goes with the codec level for which
//
//     time to encode + (time to send a byte + price) * bytes on the wire
//
// is expected to be the least. Weakly compressible blocks, which cost the most and save the least, so go raw long
// before the others do.
//
// Between the lane and the link lies a queue: what was sent and the peer has not confirmed yet, less what is under way
// on a long line in any case. A queue that is half full or more is as it should be: then the price hardly moves,
// through stretches of content that encode slower or faster than the link sends. What leaves the queue while it holds
// something is the link's rate. A queue that is out of sight, in a proxy or a tunnel, is told of by fences: a byte is
// worth no less than its time on that way.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/clock.h"
#include "codec/codec.h"
#include "engine/block_sample.h"
#include "engine/codec_levels.h"

namespace godwit {

/// What a block is made of: the two kinds compress differently, so each is predicted from its own past.
enum class BlockKind : std::uint8_t { kPages, kChanges };

/// What came of one block. Durations below zero count as zero.
struct BlockOutcome {
  std::size_t level = 0;  ///< what was tried
  BlockKind kind = BlockKind::kPages;
  double entropy = kUnsampled;      ///< as choose() was told
  std::size_t block_bytes = 0;      ///< before encoding
  std::size_t wire_bytes = 0;       ///< as sent; block_bytes if it could not be made smaller
  Duration encoding{};              ///< the lane's CPU time in the encoder
  Duration sending{};               ///< the lane's CPU time in send(): the kernel's copy
  Duration waited{};                ///< time in send() in which the connection took nothing
  Duration waited_for_receiver{};   ///< of that, because the receiver had no room (TCP's window was closed)
  std::size_t queued_at_start = 0;  ///< bytes sent and not confirmed by the peer when `elapsed` began
  std::size_t queued_before = 0;    ///< when send() began
  std::size_t queued_after = 0;     ///< and when it returned
  Duration round_trip{};            ///< the connection's shortest: confirmations come so late, queue or not
  double way_rate = 0;              ///< bytes a nanosecond that the way takes of this lane at most; 0: not known
  Duration elapsed{};               ///< wall time of all the lane's work since its previous outcome, waits included
};

/// One for each lane, called by the lane's thread only. A pure function of what it was told: two governors that were
/// told the same choose the same. Nothing fails, and nothing is allocated.
class Governor {
 public:
  Governor() noexcept;

  /// The codec level, an index into codec_levels(), to encode the next block with. `entropy`: sampled_entropy() of it,
  /// or below 0 where that says nothing. May be called for a block that is then not sent: only learn() counts blocks.
  /// `device_wait`: there is a device that encodes, kDeviceLevel, and a byte more costs this lane so many nanoseconds
  /// of waiting for it; its work costs the lane nothing but handing the block over.
  std::size_t choose(BlockKind kind, std::size_t block_bytes, double entropy = kUnsampled,
                     std::optional<double> device_wait = {}) noexcept;
  /// Once for each block, in the order in which they were sent. An unknown level is ignored.
  void learn(const BlockOutcome& outcome) noexcept;

  /// The most that is paid for a byte, as a multiple of what the link charges: the lane's time that passes for each
  /// byte while the link is full. More than once, because a lane that waits has time to spare.
  static constexpr double kGenerosity = 10;
  /// And never more than this, however slow the link: zstd:6 would save some 2 % more bytes for more
  /// than twice the CPU time (bench_governor).
  static constexpr double kHighestPrice = 200;

  /// Lane nanoseconds that one byte on the wire is worth now; above 0.
  double price() const noexcept { return price_; }
  /// Saving bytes is worth next to nothing now: not even looking for deltas pays.
  bool link_is_idle() const noexcept;

 private:
  /// How likely a block belongs to each content class; sums to 1.
  using Belief = std::array<double, kContentClasses>;

  /// What is known about the blocks of one kind.
  struct Content {
    Belief usual{};            ///< the mixture that this lane has seen lately
    Belief last{};             ///< the last block that was encoded
    std::uint32_t unseen = 0;  ///< blocks that went raw since then
    double alike = 0;          ///< how much more often than by chance, and how often it could have been, a block was of
    double chances = 0;        ///<   the class of the block before it; both fade
    std::uint32_t patience = 0;  ///< blocks to send raw before the next trial
    double trust = 0;            ///< in looks: how often they and the neighbours together were right lately
  };

  double stickiness(const Content& content) const noexcept;
  Belief expect(const Content& content) const noexcept;
  static void sharpen(const Content& content, double entropy, Belief& belief) noexcept;
  double cost_at_device(std::size_t content_class, double bytes, double wait) const noexcept;
  double cost(std::size_t level, std::size_t content_class, double bytes) const noexcept;
  void learn_content(const BlockOutcome& outcome) noexcept;
  void learn_speed(const BlockOutcome& outcome, const Belief& belief) noexcept;
  void learn_price(const BlockOutcome& outcome) noexcept;
  void learn_link_rate(const BlockOutcome& outcome, double elapsed) noexcept;
  void raise_to_charge(const BlockOutcome& outcome, double wait) noexcept;

  std::array<Content, 2> content_;
  std::array<double, kCodecLevels> pace_;  ///< this machine's time for a level over the table's, beyond machine_
  double machine_ = 1;                     ///< this machine's time over the table's, all levels
  std::uint32_t encoded_ = 0;              ///< blocks that machine_ and pace_ have been learned from
  double send_ns_per_byte_;
  double hand_over_ns_per_byte_;  ///< what a block costs the lane that a device encodes

  double price_;            ///< steady_price_, less where the queue runs empty
  double steady_price_;     ///< the price that has proved right over the last some ten blocks
  double link_rate_ = 0;    ///< what the link takes from this lane, bytes per nanosecond; 0: never seen at work
  double taken_bytes_ = 0;  ///< what link_rate_ is made of; both fade
  double taken_ns_ = 0;
  double full_;                 ///< the queue's length when send() has to wait, beyond what is under way
  std::uint32_t full_run_ = 0;  ///< blocks in a row that waited long
  std::uint32_t dry_run_ = 0;   ///< blocks in a row that found the link nearly dry
};

}  // namespace godwit
