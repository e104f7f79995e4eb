#include "service/qemu_sink.h"

#include "service/recover.h"
#include "service/wiring.h"
#include "vmm/qemu/disk_images.h"
#include "vmm/qemu/incoming.h"

namespace godwit {

namespace {

/// Members end in the reverse order: each works on those before it.
class QemuSink final : public OpenedSink {
 public:
  explicit QemuSink(const JobContext& context) : context_(context) {}
  Status open(const std::string& qmp, pid_t pid);

  const Fingerprint& fingerprint() const noexcept override { return vm_.inspection.fingerprint; }
  Journal& journal() noexcept override { return *journal_; }
  Result<SinkVm*> open_vm(const Fingerprint& source, DeviceWay offered) override {
    auto blocks = TRY(in_order_of(source, vm_.inspection.blocks));
    sink_vm_.reset();  // a source that was here before
    qemu::DeviceChoice choice;
    if (offered == DeviceWay::kDirect) {
      const auto other = other_blocks_in_order_of(source, vm_.inspection.other);
      choice = {other.missing ? DeviceWay::kStream : DeviceWay::kDirect, other.missing.value_or(""), false};
      blocks = moved_blocks(std::move(blocks), other, choice.way);
    }
    vm_.memory = TRY(qemu::open_memory(*vm_.process, blocks));
    vm_.blocks = std::move(blocks);
    sink_vm_ = qemu::make_sink_vm(vm_, std::move(choice), *journal_, context_.clock, context_.on_guest_start);
    return sink_vm_.get();
  }
  MatchSamples match_samples() override {
    return
        [this](const Disk& source, const Disk& sink) { return qemu::match_disk(*vm_.qmp, *vm_.process, source, sink); };
  }

 private:
  const JobContext& context_;
  qemu::QemuVm vm_;
  std::optional<Journal> journal_;
  std::unique_ptr<SinkVm> sink_vm_;
};

Status QemuSink::open(const std::string& qmp, pid_t pid) {
  vm_ = TRY(qemu::attach(qmp, pid, context_.clock));
  const auto folder = default_state_folder();
  const auto left = TRY(recover_if_left_behind(vm_, folder, context_.on_note));
  TRY(check_sink_vm(vm_.inspection));
  if (left == LeftBehind::kUnclear || left == LeftBehind::kCommitted) {
    return fail(ErrorKind::kRefused,
                "this QEMU takes in no VM before it is clear what a godwit that died has left (above)");
  }
  TRY(qemu::check_waits_for_us(*vm_.qmp, *vm_.process));
  // Held as long as this object exists: a second receive on this QEMU would write over the first one's guest.
  journal_.emplace(TRY(Journal::open(folder, {vm_.process->pid(), vm_.process->start_time()})));
  TRY(journal_->receiving());
  context_.on_milestone(Milestone::kAttached);
  return {};
}

}  // namespace

OpenSink open_qemu_sink(std::string qmp, pid_t pid) {
  return [qmp = std::move(qmp), pid](const JobContext& context) -> Result<std::unique_ptr<OpenedSink>> {
    auto sink = std::make_unique<QemuSink>(context);
    TRY(sink->open(qmp, pid));
    return sink;
  };
}

}  // namespace godwit
