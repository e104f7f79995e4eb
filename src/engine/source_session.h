// The sink's session with its source: takes it from the broker, hears what it says, tells it why this side gives up,
// and sees it off.
//
//   await() --> [control()] --> begin_beating() --> receive() ... --> see_off(), abort()
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "engine/broker.h"
#include "engine/heartbeat.h"
#include "engine/sink_context.h"
#include "wire/control.h"

namespace godwit {

/// The coordinator's, except for fail_with(), cancel(), cut() and what control() allows.
class SourceSession {
 public:
  /// Both outlive it.
  SourceSession(SinkContext& context, Broker& broker) : context_(context), broker_(&broker) {}
  SourceSession(SinkContext& context, Broker::Place place) : context_(context), place_(std::move(place)) {}
  /// Nobody cuts what is not there any more.
  ~SourceSession() { let_come_back_no_more(); }

  /// A source has said Hello.
  Status await();
  bool has_come() const noexcept { return connected_; }
  const wire::Hello& hello() const noexcept { return hello_; }
  /// The guest is not to be let run here: it was paused before, or on the way.
  bool stays_paused() const noexcept { return hello_.paused || paused_since_; }
  void hear_of_pause() noexcept { paused_since_ = true; }
  /// After await(): the lanes of this source, as Broker::Place has it.
  Result<std::vector<GreetedLane>> await_lanes(bool all) { return await_lanes(hello_.lanes, all); }
  Result<std::vector<GreetedLane>> await_lanes(unsigned count, bool all);
  /// Whoever else comes is told this.
  void refuse_others(std::string why) { place_->settle(std::move(why)); }

  /// After await().
  wire::ControlConnection& control() noexcept { return *control_; }
  /// It has been welcomed: both sides are to hear of one another from here on.
  void begin_beating();
  /// The next message, of whatever kind; the first one within a time of its own, because a source beats as soon as it
  /// has read Welcome: one that says nothing then, or drips, does not keep others out. An Abort is an error; so is
  /// whatever has failed on this side meanwhile.
  Result<wire::Message> receive();

  /// Any thread: the first error is the cause of the end. The source is told, and closes the connection then, which
  /// wakes receive(). It is not cut from here: a cut can overtake the message.
  void fail_with(Error error);
  /// Any thread: a connection of the source's has failed. As fail_with(), unless that is borne now.
  void lose_link(Error error);
  /// Any thread: the operator gives up.
  void cancel();
  /// SinkVm::end_unrun(), by one thread at a time.
  Status end_unrun();
  /// After await(): from here on a source that is not heard for so long is lost, and not before.
  void bear_silence(Duration dead_after) noexcept {
    control_->set_silence(dead_after);
    channel_->link().bear_silence(dead_after);
  }
  /// Any thread, after await(): the source does not go by itself.
  void cut() noexcept;

  // When the link was lost, and that is borne (sink_outage.h).

  /// The source may come back, by Broker::Place::let_come_back(); what it had is cut then.
  void let_come_back();
  void let_come_back_no_more();
  /// When the source was last heard.
  Instant heard_at() const noexcept { return heard_at_; }
  /// It has said so itself.
  bool source_gave_up() const noexcept { return gave_up_.has_value(); }
  /// Nobody uses the connection any more when this returns.
  void part();
  Result<GreetedSource> await_back(Duration at_most);
  /// From here on control() is this one.
  void join(std::unique_ptr<Channel> control);
  /// After join(), of a source that has come back only to say that it has given up: why.
  Error hear_goodbye(Duration at_most);
  /// As Broker::Place has it.
  void leave_word(std::string why, Duration at_most) { place_->leave_word(std::move(why), at_most); }

  /// Reads on until the source has closed the connection, within bounds: closing with bytes unread would reset it, and
  /// take back what the source has not read yet.
  void see_off();
  void abort() noexcept;

  /// Why the source gave up, where that was the guest's doing.
  std::optional<Outcome> ended_there() const noexcept { return ended_there_; }
  std::uint64_t peak_memory() const noexcept {
    return std::max(peak_before_, heartbeat_ ? heartbeat_->peak_memory() : anonymous_memory());
  }
  void account(SinkReport& report) const;

 private:
  void hear_why(const wire::Abort& abort);
  Error lost(Error error) const;
  void tell_failure();

  SinkContext& context_;
  Broker* broker_ = nullptr;  ///< null: the source has its place already
  std::stop_source waits_no_more_;
  std::optional<Broker::Place> place_;  ///< once a source has come
  std::optional<Instant> came_;
  wire::Hello hello_;
  std::unique_ptr<Channel> channel_;
  std::optional<wire::ControlConnection> control_;
  std::atomic<bool> connected_{false};  ///< both are set for good: other threads may use them
  std::atomic<bool> lost_{false};
  bool heard_ = false;  ///< something, since Welcome
  bool paused_since_ = false;
  Instant heard_at_{};
  std::uint64_t received_before_ = 0;  ///< by connections that are gone
  std::uint64_t peak_before_ = 0;      ///< this engine's memory, while these were there
  mutable std::mutex swapping_;        ///< held while channel_ becomes another one, and by whoever cuts it
  std::mutex telling_;                 ///< held from when an error is reported until the source has been told
  std::optional<Outcome> ended_there_;
  std::optional<Error> gave_up_;  ///< the source, in its words
  std::optional<Heartbeat> heartbeat_;
};

}  // namespace godwit
