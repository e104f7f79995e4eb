// Takes in QEMU's migration stream: what the lanes move is dropped, the rest goes to the observer.
//
//   QEMU --fd:godwit-stream--> socket --> [reader thread] --> StreamFilter --> observer: device_bytes, guest_stopped,
//   ...
//
// It is there before copying begins; whoever orders QEMU to migrate, and when, is another's business.
//
// QEMU is never asked for anything from the reader thread while the migration is under way: it may be blocked in a
// write to this very socket with its main lock held, and would not answer.
#pragma once

#include <atomic>
#include <functional>
#include <limits>
#include <memory>
#include <thread>

#include "base/wake.h"
#include "vmm/hypervisor.h"
#include "vmm/qemu/global_state.h"
#include "vmm/qemu/migration_watch.h"
#include "vmm/qemu/stream_filter.h"
#include "vmm/qemu/stream_socket.h"
#include "vmm/vm_record.h"

namespace godwit::qemu {

/// Of the migration that QEMU has been ordered to send into the socket.
struct OrderedStream {
  FilterOptions filter;
  Instant asked{};     ///< `migrate`,
  Instant answered{};  ///< and when QEMU answered
  /// Since when QEMU does not answer; Instant{}: it does. The reader asks often.
  std::function<Instant()> silent_since;
  std::function<std::uint64_t()> vcpus_ran;  ///< as in HandoverOrder
};

class StreamIntake final : private FilterOutput {
 public:
  /// A guest that is handed over `paused` must be so in the stream; one that is not, and somebody else has paused, is
  /// handed over so. `record` gets the mark of the guest's stop. Both live until end().
  static Result<std::unique_ptr<StreamIntake>> open(bool paused, HandoverObserver& observer, VmRecord& record,
                                                    const Clock& clock);
  ~StreamIntake() override { end(); }

  /// For QEMU, before begin().
  int qemus_end() const noexcept { return socket_.theirs.get(); }
  /// QEMU has been ordered to migrate. `qmp` and `watch` live until end().
  void begin(OrderedStream ordered, Qmp& qmp, MigrationWatch& watch);
  /// No more than so many page records are read, give or take what fits into the socket: QEMU then waits with the rest.
  /// From begin() on; before it, all may come.
  void allow(std::uint64_t records) noexcept;
  /// The guest has been stopped: QEMU has sent all of RAM.
  bool stopped() const noexcept { return stopped_; }
  void expect_paused() noexcept { paused_ = true; }
  bool hands_over_paused() const noexcept { return paused_; }
  /// The whole stream has been passed on.
  bool complete() const noexcept { return complete_; }
  /// In which run state QEMU hands the guest over, if that is known yet. After end().
  const std::optional<std::string>& run_state() const noexcept { return global_state_.run_state(); }
  /// Nothing is passed on any more from here on; end() closes the socket, which ends a migration that is under way.
  void stop_passing() noexcept { ending_ = true; }
  void end() noexcept;

 private:
  StreamIntake(bool paused, HandoverObserver& observer, VmRecord& record, const Clock& clock)
      : observer_(observer), record_(record), clock_(clock), paused_(paused) {}
  Status pass(Bytes bytes) override;
  Status ram_ends() override;

  void run();
  Status read_stream();
  void await_changes();
  Status feed(Bytes bytes);
  Status mark_stop();
  void mark_end();
  Status conclude();
  Status check_run_state();
  Status check_own_ram(std::size_t more);
  bool holds_back() const noexcept;
  Status wait_to_read();
  void tell_if_silent();
  bool guest_has_run();

  HandoverObserver& observer_;
  VmRecord& record_;
  const Clock& clock_;
  std::atomic<bool> paused_;
  StreamSocket socket_;  ///< QEMU's end until the guest has been stopped
  OrderedStream ordered_;
  Qmp* qmp_ = nullptr;
  MigrationWatch* watch_ = nullptr;
  std::unique_ptr<StreamFilter> filter_;
  GlobalState global_state_;
  Instant seen_paused_at_{};        ///< of the reader thread, like the next
  std::uint64_t own_in_pause_ = 0;  ///< bytes of RAM that were passed on since the stop
  bool marked_all_ = false;         ///< the mark knows of all pages
  bool told_silent_ = false;
  std::uint64_t ran_ = 0;  ///< what vCPUs had run when last looked at
  Instant ran_at_{};       ///< the last look that found them to have run
  std::atomic<std::uint64_t> allowed_{std::numeric_limits<std::uint64_t>::max()};  ///< page records
  Wake allowed_more_;
  std::atomic<bool> stopped_{false};
  std::atomic<bool> ending_{false};
  std::atomic<bool> complete_{false};
  std::jthread reader_;
};

}  // namespace godwit::qemu
