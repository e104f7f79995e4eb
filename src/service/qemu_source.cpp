#include "service/qemu_source.h"

#include "memory/first_blocks.h"
#include "service/recover.h"
#include "service/wiring.h"
#include "throttle/following_throttle.h"
#include "vmm/qemu/disk_images.h"
#include "vmm/qemu/vcpu_time.h"

namespace godwit {

namespace {

/// Members end in the reverse order: each works on those before it.
class QemuSource final : public OpenedSource {
 public:
  Status open(const QemuSourceOptions& options, const HostProfile& host, const JobContext& context, Outcome& outcome);

  SourceVm& vm() noexcept override { return *source_vm_; }
  DirtyTracker& tracker() noexcept override { return *wired_.tracker; }
  Journal& journal() noexcept override { return *journal_; }
  FreePages* free_pages() noexcept override { return free_pages_.get(); }
  std::vector<pid_t> vcpu_threads() override { return qemu::vcpu_threads_here(*vm_.qmp, *vm_.process); }
  Status slow_guest(double share) override { return throttle_->set(share); }
  Status lift_slowdown() override { return throttle_->lift(); }
  bool quiesce_harvests() const noexcept override { return wired_.quiesce; }
  bool holes_may_appear() const noexcept override { return vm_.inspection.gives_memory_back; }

 private:
  qemu::QemuVm vm_;
  std::unique_ptr<GuestMemory> main_memory_;
  std::optional<Journal> journal_;
  WiredTracker wired_;
  std::unique_ptr<FreePages> free_pages_;
  std::unique_ptr<SourceVm> source_vm_;
  std::optional<FollowingThrottle> throttle_;
};

/// What a guest that does not run will be at the destination, where its operator may wonder.
std::string_view state_to_arrive_in(std::string_view status) {
  if (status == "io-error") {
    return "QEMU has paused the guest because of a disk error: it is moved as it is, and arrives paused; `cont` there "
           "tries the request again";
  }
  if (status == "suspended") return "the guest has suspended itself to RAM: if it can be moved so, it arrives so";
  return {};
}

Status QemuSource::open(const QemuSourceOptions& options, const HostProfile& host, const JobContext& context,
                        Outcome& outcome) {
  vm_ = TRY(qemu::attach(options.qmp, options.pid, context.clock));
  const auto folder = default_state_folder();
  const auto left = TRY(recover_if_left_behind(vm_, folder, context.on_note));
  if (left == LeftBehind::kCommitted) {
    const auto record = TRY(Journal::peek(folder, {vm_.process->pid(), vm_.process->start_time()}));
    const bool follows = record == Journal::State::kFollowing;
    outcome = follows ? Outcome::kIncomplete : Outcome::kInDoubt;
    return fail(ErrorKind::kRefused, "this VM has been moved already");
  }
  vm_.inspection.allow_nested = options.allow_nested;
  TRY(add_tracking_obstacles(vm_));
  if (left == LeftBehind::kUnclear) {
    return fail(ErrorKind::kRefused,
                "this VM is not moved before it is clear what a godwit that died has left (above)");
  }
  TRY(check_source_vm(vm_.inspection));
  if (const auto note = state_to_arrive_in(vm_.inspection.status); !note.empty()) context.on_note(note);
  TRY(qemu::sample_disks(*vm_.qmp, *vm_.process, vm_.inspection.fingerprint.disks));
  for (const auto& warning : unsafe_caches(vm_.inspection.fingerprint.disks)) context.on_note("warning: " + warning);
  journal_.emplace(TRY(Journal::open(folder, {vm_.process->pid(), vm_.process->start_time()})));
  context.on_milestone(Milestone::kAttached);
  const auto choice = TRY(choose_device_way(vm_, options.devices));
  const auto& inspection = vm_.inspection;
  vm_.memory = TRY(qemu::open_memory(*vm_.process, moved_blocks(inspection.blocks, inspection.other, choice.way)));
  main_memory_ = TRY(first_blocks(*vm_.memory, inspection.blocks.size()));
  wired_ = TRY(wire_tracker(vm_, host, context.clock, options.releaser, context.cancelled));
  if (options.skip_free_pages) free_pages_ = wire_free_pages(vm_, *main_memory_);
  source_vm_ = qemu::make_source_vm(vm_, choice, *journal_, context.clock);
  throttle_.emplace(
      vm_.process->pid(), [this] { return vcpu_threads(); },
      ThrottleSettings{.state_folder = folder, .keeper = options.keeper, .only = {}, .paths = {}});
  return {};
}

}  // namespace

OpenSource open_qemu_source(QemuSourceOptions options, const HostProfile& host) {
  return [options = std::move(options), host](const JobContext& context,
                                              Outcome& outcome) -> Result<std::unique_ptr<OpenedSource>> {
    auto source = std::make_unique<QemuSource>();
    TRY(source->open(options, host, context, outcome));
    return source;
  };
}

}  // namespace godwit
