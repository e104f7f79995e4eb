// The source's session with its sink: connects, greets, opens lanes, hears what the sink says, says goodbye.
//
//   open():   connect, greeting --> lanes --> Hello --> Welcome     then a thread reads control messages,
//                                                                   and another beats
//   hear():   a sign of life that was given just now
//   say_goodbye(), close()
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "engine/heartbeat.h"
#include "engine/open_lanes.h"
#include "engine/source_context.h"
#include "wire/control.h"

namespace godwit {

/// The coordinator's, except for cancel() and what control() allows.
class SinkSession {
 public:
  using Lanes = std::vector<std::unique_ptr<Channel>>;

  explicit SinkSession(SourceContext& context) : context_(context) {}
  ~SinkSession() { abort(); }

  /// The lanes that the sink has found open, in their order. The sink has agreed to take this VM.
  Result<Lanes> open();
  /// After open().
  wire::ControlConnection& control() noexcept { return *control_; }
  /// Fails if the sink is not alive now: this process may itself have been stopped while the sink gave up.
  Status hear();
  /// It was heard lately; asks nobody.
  bool is_fresh() const { return context_.now() - context_.signals.look().heard_at < kFreshness; }
  /// After open(): from here on a sink that is not heard for so long is lost, and not before.
  void bear_silence(Duration dead_after) noexcept {
    control_->set_silence(dead_after);
    channel_->link().bear_silence(dead_after);
  }
  /// Wakes open() before the sink has answered; any thread.
  void cancel() noexcept;
  /// Tells a sink that can still hear why; a connection that is stuck must not keep the guest paused. `kind`: as
  /// Abort's.
  void say_goodbye(const std::string& kind, const Error& error);
  /// Lets the sink read the goodbye, and cuts the connection.
  void close();
  void abort() noexcept;

  // When the link was lost, and that is borne (source_outage.h), or the number of lanes changes (lane_change.h).

  /// Nobody uses the connection any more when this returns.
  void part();
  /// What the sink is told by a source that comes back.
  wire::Hello rejoin_hello() const;
  /// The latest number that a Hello of these may have had.
  void tried(std::uint32_t attempt) noexcept { attempt_ = attempt; }
  bool has_urgent() const noexcept { return has_urgent_; }
  /// From here on control() is this one.
  void join(std::unique_ptr<Channel> control);

  const std::string& sink_version() const noexcept { return sink_version_; }
  /// Empty before there is a connection.
  std::string security() const { return connected_ ? channel_->link().security() : ""; }
  /// After open(): devices may go directly.
  bool takes_direct() const noexcept { return takes_direct_; }
  /// After open(), where both sides are ready for post-copy: the connection for urgent pages. Once.
  std::unique_ptr<Channel> take_urgent() noexcept { return std::move(urgent_); }
  /// Once `map_told` is signalled: what the sink lacks, by chunk. Once. kProtocol if the guest does not have it all.
  Result<std::vector<PageWord>> take_missing(const RamLayout& layout);
  const std::string& why_stream() const noexcept { return why_stream_; }
  /// After open(): as in LaneShares.
  std::uint32_t chunks_in_a_row() const noexcept { return chunks_in_a_row_; }
  std::uint64_t bytes_sent() const { return sent_before_ + (channel_ ? channel_->link().bytes_sent() : 0); }
  std::uint64_t peak_memory() const noexcept {
    return std::max(peak_before_, heartbeat_ ? heartbeat_->peak_memory() : anonymous_memory());
  }

 private:
  Status offer_postcopy(const wire::Secret& secret, OpenedLanes& lanes);
  void settle_postcopy(const wire::Welcome& welcome, std::size_t opened, Lanes& found);
  void cannot_postcopy(std::string why);
  Status open_urgent(const wire::Secret& secret, OpenedLanes& lanes) const;
  Result<wire::Message> await_welcome();
  Result<wire::Welcome> welcome_in(wire::Message answer) const;
  Result<Lanes> lanes_found(OpenedLanes opened, const std::optional<std::vector<std::uint16_t>>& arrived);
  Status check_resumed(const wire::Welcome& welcome);
  Status add_missing(const wire::MissingMap& map);
  void begin_hearing();
  void read_control();
  Status read_message();
  Status take(const wire::Message& message, Instant at);
  Error lost(Error error, Instant at) const;

  SourceContext& context_;
  std::unique_ptr<Channel> channel_;
  std::unique_ptr<Channel> urgent_;
  std::atomic<bool> connected_{false};  ///< channel_ is set for good: other threads may use it
  std::atomic<bool> welcomed_{false};
  std::optional<wire::ControlConnection> control_;
  std::atomic<bool> parting_{false};  ///< how the connection ends tells nothing any more
  wire::Hello hello_;                 ///< as it was said
  wire::Secret secret_{};
  std::uint32_t attempt_ = 0;
  std::uint64_t sent_before_ = 0;  ///< by connections that are gone
  std::uint64_t peak_before_ = 0;  ///< this engine's memory, while these were there
  std::string sink_version_;
  bool takes_direct_ = false;
  std::string why_stream_;
  std::uint32_t chunks_in_a_row_ = 1;
  bool offers_postcopy_ = false;
  bool has_urgent_ = false;                ///< one of the connections is for urgent pages
  std::vector<RamBlock> blocks_there_;     ///< where a post-copy is gone on with: as they are numbered there
  std::uint32_t most_chunks_ = 0;          ///< that a map of what is missing may name
  std::vector<wire::MissingMap> missing_;  ///< the reader's until `map_told`
  std::optional<Heartbeat> heartbeat_;
  std::jthread reader_;
};

/// What the source makes of a sink's Abort: of the kind that the sink names, so that the report and the advice fit;
/// kRefused where that kind is unknown here.
Error why_the_sink_gave_up(const wire::Abort& abort);

}  // namespace godwit
