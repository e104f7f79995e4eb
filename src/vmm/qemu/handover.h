// Device state out of QEMU's migration stream: QEMU's `migrate` into a socket that StreamIntake reads.
//
//   QEMU --events-----> [monitor's thread] ----------> observer: guest_stopping
//                       [holder thread] ----max-bandwidth----> QEMU, near the end of its pass over RAM
//                       [attendant thread] --downtime-limit--> QEMU, if it does not stop by itself
//                                          --are you there?--> QEMU: one that is silent waits for its disks; of one
//                                                              that answers somebody else has paused the guest
//
// RAM that QEMU does not leave out (private RAM) it sends once from end to end before it can stop the guest: some
// seconds that nobody needs to wait for. prepare() has it begin while the lanes copy, and holds it back before the end:
// by its own limit, because a QEMU that is blocked in a write holds a lock that others may wait for with the guest
// stopped; and, until that limit is felt and should it ever fail, by not reading on.
#pragma once

#include <condition_variable>
#include <mutex>
#include <optional>
#include <set>

#include "vmm/qemu/device_handover.h"
#include "vmm/qemu/stream_intake.h"

namespace godwit::qemu {

struct StreamOptions {
  std::set<std::string> dropped_blocks;  ///< that the lanes move
  bool paused = false;  ///< the guest is handed over paused; else running, or paused if somebody else was faster
  /// After this long without a stop. A pass over what is left takes milliseconds: a QEMU that has not stopped after
  /// seconds will not at this limit.
  Duration push_every = std::chrono::seconds(2);
};

/// No limit for QEMU's own sending into a local socket: 1 TiB/s (0 means "none" too, but not in every version's code).
inline constexpr std::uint64_t kUnlimited = std::uint64_t{1} << 40;

/// A pass over less RAM than this is not worth beginning early, and could not be held back.
inline constexpr std::uint64_t kShortestPass = std::uint64_t{1} << 30;

class StreamHandover final : public DeviceHandover {
 public:
  /// QEMU is asked for nothing yet. `observer` and `record` are used until end().
  static Result<std::unique_ptr<StreamHandover>> open(Qmp& qmp, StreamOptions options, HandoverObserver& observer,
                                                      VmRecord& record, const Clock& clock);
  ~StreamHandover() override { end(); }

  Status prepare(const HandoverOrder& order) override;
  Status order(const HandoverOrder& order) override;
  bool resumed() const override { return watch_ && watch_->look().resumed; }
  Status told_of_no_change() const override;
  void expect_paused() noexcept override { intake_->expect_paused(); }
  bool hands_over_paused() const noexcept override { return intake_->hands_over_paused(); }
  bool complete() const noexcept override { return intake_->complete(); }
  const std::optional<std::string>& run_state() const noexcept override { return intake_->run_state(); }
  void end() noexcept override;

 private:
  StreamHandover(Qmp& qmp, StreamOptions options, HandoverObserver& observer, const Clock& clock)
      : qmp_(qmp), observer_(observer), clock_(clock), options_(std::move(options)) {}
  Status begin(const HandoverOrder& order, std::function<void(Instant)> on_stop);
  Status ask_to_migrate(const HandoverOrder& order);
  void hold_back(const std::stop_token& stop);
  Status let_go_on(const HandoverOrder& order);
  void attend(const std::stop_token& stop);
  void ask_whether_it_answers(std::optional<Instant> stop_told);
  bool push();
  void see_stop(Instant at);

  Qmp& qmp_;
  HandoverObserver& observer_;
  const Clock& clock_;
  const StreamOptions options_;
  std::uint64_t downtime_limit_ms_ = 0;
  std::uint64_t highest_limit_ms_ = 0;
  std::unique_ptr<StreamIntake> intake_;
  std::mutex attending_;  ///< guards the next two
  std::condition_variable_any stop_seen_;
  std::optional<Instant> stop_told_;  ///< the stop that the observer has been told of
  std::atomic<Instant> asked_at_{};   ///< when QEMU was asked what it has not answered yet; Instant{}: nothing
  std::unique_ptr<MigrationWatch> watch_;
  std::jthread holder_;
  std::jthread attendant_;
};

}  // namespace godwit::qemu
