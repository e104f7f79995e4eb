// A running VM on QEMU: stopped, handed over, rolled back.
//
// QEMU stops the guest by itself when little is left to send, saves its devices and is done ("completed"), whatever the
// sink does. Nothing waits for anybody in the pause. Taking it back is possible from every state, for QEMU does not
// destroy a guest that it has handed over: it lets it run again on `cont`. That nobody does so after a commit is the
// engine's business; finish() never does.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <nlohmann/json.hpp>
#include <vector>

#include "vmm/qemu/handover.h"
#include "vmm/qemu/json_access.h"
#include "vmm/qemu/migration_settings.h"
#include "vmm/qemu/qemu_vm.h"
#include "vmm/qemu/revive.h"
#include "vmm/qemu/second_look.h"
#include "vmm/qemu/settle.h"
#include "vmm/qemu/vcpu_time.h"

namespace godwit::qemu {
namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;

// Draining slow disks is what can take long; after that it is milliseconds.
constexpr Duration kRollBackPatience = std::chrono::seconds(30);
// No limit for QEMU's own sending into a local socket: 1 TiB/s (0 means "none" too, but not in every version's code).
constexpr std::uint64_t kUnlimited = std::uint64_t{1} << 40;

/// What QEMU may leave to be sent after the stop. It measures its own bandwidth, some GB/s into the filter, so that
/// even the lower bound is megabytes; the engine's own last pages need their part of the pause too.
std::uint64_t downtime_limit_ms(Duration max_downtime) {
  const auto share = duration_cast<milliseconds>(max_downtime / 2);
  return static_cast<std::uint64_t>(std::clamp(share, milliseconds(5), milliseconds(2000)).count());
}

class QemuSourceVm final : public SourceVm {
 public:
  QemuSourceVm(QemuVm& vm, VmRecord& record, const Clock& clock) : vm_(vm), record_(record), clock_(clock) {}

  const Fingerprint& fingerprint() const noexcept override { return vm_.inspection.fingerprint; }
  GuestMemory& memory() noexcept override { return *vm_.memory; }

  bool stands() const noexcept override { return handover_ && !handover_->resumed(); }

  Status pause() override {
    TRY(check_interrupted());
    TRY(check_runs());
    if (vcpus_.empty()) vcpus_ = TRY(vcpu_threads(*vm_.qmp));  // asked while it runs
    stopped_by_us_ = true;
    TRY(vm_.qmp->execute("stop"));
    const std::string mark = mark_of_pause(*vm_.process, vcpus_);
    return mark.empty() ? Status{} : record_.guest_stands(mark);
  }

  Status resume() override {
    TRY(check_interrupted());
    TRY(let_run(*vm_.qmp, kRollBackPatience));
    stopped_by_us_ = false;
    return {};
  }

  Status check_unchanged() override {
    TRY(check_interrupted());
    if (handover_) return look_again_quickly(vm_);
    ram_lengths_ = TRY(look_again(vm_));
    return {};
  }

  Status start_handover(HandoverObserver& observer, Duration max_downtime) override {
    TRY(check_interrupted());
    if (handover_) return fail(ErrorKind::kInvalidArgument, "a hand-over is under way already");
    HandoverOptions options;
    for (const auto& block : vm_.inspection.blocks) options.dropped_blocks.insert(block.name);
    options.lengths = ram_lengths_;
    options.look_again = [this] { return look_again_quickly(vm_); };
    options.downtime_limit_ms = downtime_limit_ms(max_downtime);
    if (!settings_) {
      settings_ = TRY(MigrationSettings::apply(*vm_.qmp, {"x-ignore-shared", "events"},
                                               Json{{"max-bandwidth", kUnlimited},
                                                    {"downtime-limit", options.downtime_limit_ms},
                                                    {"avail-switchover-bandwidth", 0},
                                                    {"mode", "normal"},
                                                    {"tls-creds", ""}},
                                               record_));
    }
    TRY(check_interrupted());
    TRY(check_runs());
    handover_ = TRY(Handover::start(*vm_.qmp, options, observer, record_, clock_));
    stopped_by_us_ = true;  // or will be
    return {};
  }

  Status roll_back() override {
    const Status runs = let_guest_go();
    // Whether it runs or not: a guest that stands may be saved by other means, with the settings that stand then. The
    // guest is what counts for the answer; settings that could not be put back stay on record.
    (void)restore();
    return runs;
  }

  Status finish() override {
    handover_.reset();
    return restore();
  }

  void interrupt() noexcept override { interrupted_ = true; }

 private:
  /// A guest that does not run has been stopped, or moved, by somebody else: it is not ours to start again.
  Status check_runs() {
    const Json state = TRY(vm_.qmp->execute("query-status"));
    if (bool_at(state, "running")) return {};
    return fail(ErrorKind::kRefused,
                fmt::format("somebody else has stopped this VM: QEMU says it is '{}'", text_at(state, "status")));
  }

  Status check_interrupted() const {
    return interrupted_ ? Status(fail(ErrorKind::kCancelled, "interrupted")) : Status();
  }

  Status let_guest_go() {
    if (handover_) {
      handover_.reset();
      TRY_IN("roll back", settle_migration(*vm_.qmp, kRollBackPatience));
    }
    if (stopped_by_us_) TRY_IN("roll back", let_run(*vm_.qmp, kRollBackPatience));
    stopped_by_us_ = false;
    return {};
  }

  Status restore() {
    if (settings_) TRY(settings_->restore());
    settings_.reset();
    return {};
  }

  QemuVm& vm_;
  VmRecord& record_;
  const Clock& clock_;
  std::map<std::string, std::uint64_t> ram_lengths_;  ///< of all RAM blocks when last looked at; empty: never
  std::vector<pid_t> vcpus_;
  bool stopped_by_us_ = false;
  std::atomic<bool> interrupted_{false};
  std::unique_ptr<MigrationSettings> settings_;
  std::unique_ptr<Handover> handover_;
};

}  // namespace

std::unique_ptr<SourceVm> make_source_vm(QemuVm& vm, VmRecord& record, const Clock& clock) {
  return std::make_unique<QemuSourceVm>(vm, record, clock);
}

}  // namespace godwit::qemu
