// Device state out of QEMU's migration stream: QEMU's `migrate` into a socket that StreamIntake reads.
//
//   QEMU --events-----> [monitor's thread] ----------> observer: guest_stopping
//                       [attendant thread] --downtime-limit--> QEMU, if it does not stop by itself
//                                          --are you there?--> QEMU: one that is silent waits for its disks
#pragma once

#include <set>

#include "vmm/qemu/device_handover.h"
#include "vmm/qemu/stream_intake.h"

namespace godwit::qemu {

struct StreamOptions {
  std::set<std::string> dropped_blocks;  ///< that the lanes move
  bool paused = false;  ///< the guest is handed over paused; else running, and anything else ends the hand-over
  /// After this long without a stop. A pass over what is left takes milliseconds: a QEMU that has not stopped after
  /// seconds will not at this limit.
  Duration push_every = std::chrono::seconds(2);
};

class StreamHandover final : public DeviceHandover {
 public:
  /// QEMU is asked for nothing yet. `observer` and `record` are used until end().
  static Result<std::unique_ptr<StreamHandover>> open(Qmp& qmp, StreamOptions options, HandoverObserver& observer,
                                                      VmRecord& record, const Clock& clock);
  ~StreamHandover() override { end(); }

  Status order(const HandoverOrder& order) override;
  bool resumed() const override { return watch_ && watch_->look().resumed; }
  Status told_of_no_change() const override;
  bool complete() const noexcept override { return intake_->complete(); }
  const std::optional<std::string>& run_state() const noexcept override { return intake_->run_state(); }
  void end() noexcept override;

 private:
  StreamHandover(Qmp& qmp, StreamOptions options, HandoverObserver& observer, const Clock& clock)
      : qmp_(qmp), observer_(observer), clock_(clock), options_(std::move(options)) {}
  Status ask_to_migrate(const HandoverOrder& order);
  void attend(const std::stop_token& stop);
  void ask_whether_it_answers();
  bool push();

  Qmp& qmp_;
  HandoverObserver& observer_;
  const Clock& clock_;
  const StreamOptions options_;
  std::uint64_t downtime_limit_ms_ = 0;
  std::uint64_t highest_limit_ms_ = 0;
  std::unique_ptr<StreamIntake> intake_;
  std::atomic<Instant> asked_at_{};  ///< when QEMU was asked what it has not answered yet; Instant{}: nothing
  std::unique_ptr<MigrationWatch> watch_;
  std::jthread attendant_;
};

}  // namespace godwit::qemu
