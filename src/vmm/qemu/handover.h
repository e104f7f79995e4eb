// One attempt to hand a guest over: QEMU's `migrate` into a socket, and the stream from there to the observer.
//
//   QEMU --fd:godwit--> socket --> [reader thread] --> StreamFilter --> observer: device_bytes, guest_stopped, ...
//   QEMU --events-----> [monitor's thread] ----------> observer: guest_stopping
//                       [attendant thread] --downtime-limit--> QEMU, if it does not stop by itself
//                                          --are you there?--> QEMU: one that is silent waits for its disks
//
// QEMU is never asked for anything from the reader thread while the migration is under way: it may be blocked in a
// write to this very socket with its main lock held, and would not answer.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <thread>

#include "vmm/hypervisor.h"
#include "vmm/qemu/global_state.h"
#include "vmm/qemu/migration_watch.h"
#include "vmm/qemu/stream_filter.h"
#include "vmm/vm_record.h"

namespace godwit::qemu {

struct HandoverOptions {
  std::set<std::string> dropped_blocks;
  std::map<std::string, std::uint64_t> lengths;  ///< of all RAM blocks that the VM has, bytes; empty: not known
  std::map<std::string, std::uint64_t> limits;   ///< the lengths that they may have
  /// Asked once QEMU's events are followed and before it is asked to migrate: from then on no change is missed that an
  /// event tells of.
  std::function<Status()> look_again;
  bool paused = false;  ///< the guest is handed over paused; else running, and anything else ends the hand-over
  std::uint64_t downtime_limit_ms = 0;  ///< that QEMU has been given; doubled while it does not stop
  std::uint64_t highest_limit_ms = 0;   ///< but never above this: the pause that the operator allows
  /// After this long without a stop. A pass over what is left takes milliseconds: a QEMU that has not stopped after
  /// seconds will not at this limit.
  Duration push_every = std::chrono::seconds(2);
};

class Handover final : private FilterOutput {
 public:
  /// Settings have been made. On an error nothing is under way any more. `record` gets the mark of the guest's stop,
  /// and lives until end().
  static Result<std::unique_ptr<Handover>> start(Qmp& qmp, const HandoverOptions& options, HandoverObserver& observer,
                                                 VmRecord& record, const Clock& clock);
  ~Handover() override;

  /// The guest has been let run again since the hand-over began.
  bool resumed() const { return watch_ && watch_->look().resumed; }
  /// kRefused if an event has told of a change of the VM.
  Status told_of_no_change() const;
  /// The whole stream has been passed on: what becomes of this QEMU does not matter to it any more.
  bool complete() const noexcept { return complete_; }
  /// In which run state QEMU hands the guest over, if that is known yet. After end().
  const std::optional<std::string>& run_state() const noexcept { return global_state_.run_state(); }
  /// Closes the socket, which ends a migration that is under way, and ends the threads; no observer is called after it.
  void end() noexcept;

 private:
  Handover(Qmp& qmp, const HandoverOptions& options, HandoverObserver& observer, VmRecord& record, const Clock& clock);
  Status pass(Bytes bytes) override;
  Status ram_ends() override;

  void run_reader();
  Status read_stream();
  void await_changes();
  Status feed(Bytes bytes);
  Status mark_stop();
  void mark_end();
  Status conclude();
  Status check_run_state();
  Status check_own_ram(std::size_t more);
  void attend(const std::stop_token& stop);
  void ask_whether_it_answers();
  bool push();
  void tell_if_silent();

  Qmp& qmp_;
  HandoverObserver& observer_;
  VmRecord& record_;
  const Clock& clock_;
  std::uint64_t downtime_limit_ms_;
  std::uint64_t highest_limit_ms_;
  Duration push_every_;
  bool paused_;
  std::unique_ptr<StreamFilter> filter_;
  GlobalState global_state_;
  UniqueFd socket_;
  UniqueFd qemus_end_;       ///< until the guest has been stopped
  Instant migrate_asked_{};  ///< `migrate`, and when QEMU answered
  Instant migrate_answered_{};
  Instant stood_at_{};               ///< of the reader thread, like the next
  std::uint64_t own_in_pause_ = 0;   ///< bytes of RAM that were passed on since the stop
  bool marked_all_ = false;          ///< the mark knows of all pages
  std::atomic<Instant> asked_at_{};  ///< when QEMU was asked what it has not answered yet; zero: nothing
  bool told_silent_ = false;         ///< the reader's
  std::atomic<bool> stopped_{false};
  std::atomic<bool> ending_{false};
  std::atomic<bool> complete_{false};
  std::unique_ptr<MigrationWatch> watch_;
  std::jthread reader_;
  std::jthread attendant_;
};

}  // namespace godwit::qemu
