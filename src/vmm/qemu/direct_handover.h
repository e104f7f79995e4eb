// Device state saved by QEMU at our word (xen-save-devices-state), without its migration.
//
//   [own thread]  stop --> guest_stopped --> xen-save-devices-state into a file of ours --> device_bytes, stream_ended
//
// QEMU's RAM pass, its migration settings and its dirty log have no part in it: all RAM blocks are the lanes'. After it
// disks are inactive and their locks free, as after a migration; `cont` takes them back.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <thread>
#include <vector>

#include "attach/remote_process.h"
#include "vmm/qemu/device_file.h"
#include "vmm/qemu/device_handover.h"
#include "vmm/qemu/migration_watch.h"
#include "vmm/vm_record.h"

namespace godwit::qemu {

struct DirectOptions {
  std::string machine;       ///< the machine type's own name
  bool paused = false;       ///< the guest is handed over paused
  bool suspended = false;    ///< or suspended to RAM: this QEMU and the other one keep it so
  std::vector<pid_t> vcpus;  ///< threads, for the mark of the stop
};

class DirectHandover final : public DeviceHandover {
 public:
  /// References are used until end(). QEMU is asked for nothing yet.
  DirectHandover(Qmp& qmp, const RemoteProcess& process, DirectOptions options, HandoverObserver& observer,
                 VmRecord& record, const Clock& clock)
      : qmp_(qmp),
        process_(process),
        options_(std::move(options)),
        observer_(observer),
        record_(record),
        clock_(clock),
        paused_(options_.paused) {}
  ~DirectHandover() override { end(); }

  Status order(const HandoverOrder& order) override;
  bool resumed() const override { return watch_ && watch_->look().resumed; }
  Status told_of_no_change() const override;
  void expect_paused() noexcept override { paused_ = true; }
  bool hands_over_paused() const noexcept override { return paused_; }
  bool complete() const noexcept override { return complete_; }
  const std::optional<std::string>& run_state() const noexcept override { return run_state_; }
  void end() noexcept override;

 private:
  void run(const HandoverOrder& order);
  Status hand_over(const HandoverOrder& order);
  Status stop_guest();
  Status take_as_it_is(const std::string& state);
  Status check_paused();
  Status check_stayed_paused();
  Status check_lengths(const HandoverOrder& order);
  Status save();
  Status go_on() const;
  void await_changes();

  Qmp& qmp_;
  const RemoteProcess& process_;
  const DirectOptions options_;
  HandoverObserver& observer_;
  VmRecord& record_;
  const Clock& clock_;
  std::unique_ptr<MigrationWatch> watch_;
  std::optional<DeviceFile> file_;
  std::optional<std::string> run_state_;  ///< of a guest that this has been about to stop; the thread's until end()
  std::string paused_as_;                 ///< QEMU's word for its state when the devices were to be saved; the thread's
  std::atomic<bool> paused_;
  std::atomic<bool> complete_{false};
  std::atomic<bool> ending_{false};
  std::jthread thread_;
};

}  // namespace godwit::qemu
