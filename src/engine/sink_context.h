// What all steps of one migration at its sink share: the parts that it was given, the VM, the first error, and how far
// it has come.
#pragma once

#include <atomic>
#include <mutex>
#include <string_view>

#include "engine/first_error.h"
#include "engine/link_watch.h"
#include "engine/sink.h"
#include "engine/sink_states.h"

namespace godwit {

/// Outlives all steps. Any thread may ask for the state and note something; `vm` is the coordinator's.
class SinkContext {
 public:
  /// It outlives this.
  explicit SinkContext(const SinkParts& given) : parts(given) {}

  const SinkParts& parts;
  SinkVm* vm = nullptr;  ///< once a source has been found to fit it
  FirstError error;
  LinkWatch link;
  Duration link_patience{};  ///< agreed with the source; zero: no outage is borne

  std::atomic<bool> early{
      false};  ///< pages have been taken away here: what the hypervisor holds is not the whole guest

  Instant now() const noexcept { return parts.clock.now(); }
  void note(std::string_view text) const;

  SinkState state() const noexcept { return state_; }
  bool has_come_to(SinkState state) const noexcept { return state_ >= state; }
  bool runs() const noexcept { return has_come_to(SinkState::kRunning); }
  /// Coordinator.
  void enter(SinkState state) noexcept { state_ = state; }
  /// From here on what the source decides is done, whatever the operator wants. False: something had failed before.
  bool become_prepared();
  /// The source's Commit has been read. False: this side has given up for good, and said so.
  bool commit();
  /// Nothing but its end follows, so that it can be said that the guest never ran here. False: a Commit has been read.
  bool give_up_for_good();
  /// The operator gives up. False: too late, this side is prepared.
  bool cancel();

 private:
  std::atomic<SinkState> state_{SinkState::kListening};
  mutable std::mutex noting_;
  bool given_up_ = false;
  std::mutex prepared_;  ///< held to become prepared, and to cancel
};

}  // namespace godwit
