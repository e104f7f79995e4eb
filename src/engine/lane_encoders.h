// One lane's encoders: gives them blocks and hears their answers. Whatever an encoder does, the block goes on, raw if
// need be.
//
//   is there an encoder?   no: raw      does it take the block?   no: raw      is the answer smaller?   no: raw
//
// An encoder that fails many blocks in a row, or ends with an error, is given up; the provider may have another.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string_view>
#include <vector>

#include "codec/encoder_provider.h"
#include "engine/lane_block.h"
#include "engine/lane_counters.h"

namespace godwit {

/// Owned by one lane. Encoders are borrowed when they are first needed; several may have blocks under way at once.
class LaneEncoders {
 public:
  /// For each codec level one; the first is raw. All references outlive it. `link_is_dry`: the link has next to nothing
  /// to send, so that no device is worth waiting for; empty: it never is.
  LaneEncoders(EncoderProvider& provider, std::vector<CodecChoice> levels, BlockRing& ring, LaneCounters& counters,
               std::function<void(std::string_view)> on_note, std::function<bool()> link_is_dry = {});

  /// Has a block under way encoded with the codec level that it has chosen, or with the next lower one that there is an
  /// encoder for. Waits only where that encoder has all its jobs under way, and for a device only while the link is
  /// busy: else the CPU encodes it. One in guest RAM is a device's, or it is left unread.
  void encode(LaneBlock& block, std::stop_token stop);
  /// Of the device at this level; nothing: it is not there any more, or the link will not wait for it.
  std::optional<double> device_wait_per_byte(std::size_t level);
  /// Asked for each block. No more, for a while, where a device has been late with one that lies in guest RAM.
  bool reads_in_place(std::size_t level);
  /// Hears the answers that are there.
  void poll();
  /// Until the block is ready, or stop was requested. One that a device is late with, while the link has nothing to
  /// send, is encoded by the CPU, if the lane has copied it.
  void await(LaneBlock& block, std::stop_token stop);

  /// Failures in a row after which an encoder is given up: a device that has died fails all.
  static constexpr unsigned kMostFailures = 8;
  /// However many jobs an encoder takes, no lane takes more memory for blocks than these need.
  static constexpr std::size_t kMostUnderWay = 64;

 private:
  struct Level {
    CodecChoice choice;
    std::unique_ptr<Encoder> encoder;
    bool none = false;  ///< and there will be none
    unsigned given_up = 0;
    unsigned failures = 0;      ///< in a row
    std::size_t under_way = 0;  ///< blocks
  };
  bool will_not_wait(const Level& level) const { return is_device(level) && link_is_dry_ && link_is_dry_(); }
  static bool is_device(const Level& level) noexcept { return level.choice.device != CodecDevice::kCpu; }
  void await_answer(std::size_t level, const std::stop_token& stop);
  void do_here(LaneBlock& block);
  Encoder* encoder_of(std::size_t level);
  void hear(std::size_t level, Result<std::size_t> heard);
  void answer(std::size_t level, const EncodeDone& done);
  void fail_block(std::size_t level, std::string_view why);
  void give_up(std::size_t level, std::string_view why);
  static void go_raw(LaneBlock& block) noexcept;
  static void leave(LaneBlock& block) noexcept;

  EncoderProvider& provider_;
  BlockRing& ring_;
  LaneCounters& counters_;
  std::function<void(std::string_view)> on_note_;
  std::function<bool()> link_is_dry_;
  std::size_t copies_ahead_ = 0;  ///< blocks that are not read in place
  std::vector<Level> levels_;
  std::array<EncodeDone, 16> done_;
};

}  // namespace godwit
