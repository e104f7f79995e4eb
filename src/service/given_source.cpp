#include "service/given_source.h"

#include <nlohmann/json.hpp>

#include "service/wiring.h"
#include "vmm/qemu/device_file.h"
#include "vmm/qemu/given_vm.h"
#include "vmm/qemu/life_watch.h"
#include "vmm/qemu/migration_settings.h"
#include "vmm/qemu/revive.h"

namespace godwit {

namespace {

constexpr std::string_view kNothingToResume =
    "there is nothing to go on with here: the journal of this VM does not say that it runs elsewhere and lacks memory "
    "(see `godwit probe`)";

/// Of a guest that does not run here, and never will.
class NoWrites final : public DirtyTracker {
 public:
  Status start(std::uint32_t) override { return {}; }
  Result<HarvestStats> harvest(Board&) override { return HarvestStats{}; }
  Result<HarvestStats> harvest_near_stop(Board&, const std::function<bool()>&) override { return HarvestStats{}; }
  Result<HarvestStats> harvest_last(Board&) override { return HarvestStats{}; }
  Result<std::uint64_t> settle(Board&) override { return 0; }
  Status find_absent(AbsentPages&) override { return {}; }
  Status stop() override { return {}; }
};

/// Members end in the reverse order: each works on those before it.
class GivenSource final : public OpenedSource {
 public:
  Status open(const std::string& qmp, pid_t pid, const JobContext& context, Outcome& outcome);

  SourceVm& vm() noexcept override { return *source_vm_; }
  DirtyTracker& tracker() noexcept override { return no_writes_; }
  Journal& journal() noexcept override { return *journal_; }
  FreePages* free_pages() noexcept override { return nullptr; }
  std::vector<pid_t> vcpu_threads() override { return {}; }
  Status slow_guest(double) override { return {}; }
  Status lift_slowdown() override { return {}; }
  bool quiesce_harvests() const noexcept override { return false; }
  bool holes_may_appear() const noexcept override { return false; }
  bool resumes() const noexcept override { return true; }

 private:
  Status find_journal(Outcome& outcome);
  Status keep_paused(const JobContext& context);
  void put_settings_back(const JobContext& context);

  qemu::QemuVm vm_;
  std::optional<qemu::LifeWatch> life_;
  std::optional<Journal> journal_;
  NoWrites no_writes_;
  std::unique_ptr<SourceVm> source_vm_;
};

Status GivenSource::find_journal(Outcome& outcome) {
  const auto folder = default_state_folder();
  const VmProcess process{vm_.process->pid(), vm_.process->start_time()};
  const auto left = TRY(Journal::peek(folder, process));
  if (left == Journal::State::kCommitted) {
    outcome = Outcome::kInDoubt;
    return fail(ErrorKind::kRefused, "this VM has been moved already, and nothing of it is left to follow");
  }
  if (left != Journal::State::kFollowing) {
    outcome = Outcome::kSourceRuns;
    return fail(ErrorKind::kRefused, std::string(kNothingToResume));
  }
  journal_.emplace(TRY(Journal::open(folder, process)));
  if (journal_->found() != Journal::State::kFollowing || journal_->left().id.empty()) {
    return fail(ErrorKind::kRefused, std::string(kNothingToResume));
  }
  return {};
}

/// It runs elsewhere.
Status GivenSource::keep_paused(const JobContext& context) {
  const bool has_run = TRY(qemu::has_run_since(*vm_.qmp, *vm_.process, journal_->left().mark));
  if (!has_run) return {};
  TRY_IN("pause the guest, which runs elsewhere, here", vm_.qmp->execute("stop"));
  if (context.on_note) {
    context.on_note(
        "somebody had let the guest run here, although it was given to the destination: it is paused again. What it "
        "has "
        "written since, to its disks, too, may have damaged it");
  }
  return {};
}

/// Of the dead engine's.
void GivenSource::put_settings_back(const JobContext& context) {
  const std::string& settings = journal_->left().settings;
  if (settings.empty()) return;
  const auto rests = qemu::at_rest(*vm_.qmp);
  if (!rests || !*rests) return;
  if (const Status restored = qemu::restore_settings(*vm_.qmp, settings)) {
    journal_->settings_put_back();
  } else if (context.on_note) {
    context.on_note("QEMU's migration settings could not be put back: " + restored.error().message);
  }
}

Status GivenSource::open(const std::string& qmp, pid_t pid, const JobContext& context, Outcome& outcome) {
  vm_ = TRY(qemu::attach(qmp, pid, context.clock));
  TRY(find_journal(outcome));
  // First: who lets it run after the look below is seen by the watch.
  life_.emplace(*vm_.qmp);
  TRY(keep_paused(context));
  qemu::take_back_left_files(*vm_.qmp);
  put_settings_back(context);
  const auto& inspection = vm_.inspection;
  // Whether all of it is wanted the destination says.
  const DeviceWay way = inspection.other.missing ? DeviceWay::kStream : DeviceWay::kDirect;
  vm_.memory = TRY(qemu::open_memory(*vm_.process, moved_blocks(inspection.blocks, inspection.other, way)));
  source_vm_ = qemu::make_given_vm(vm_, *life_, way);
  context.on_milestone(Milestone::kAttached);
  return {};
}

}  // namespace

OpenSource open_given_source(std::string qmp, pid_t pid) {
  return [qmp = std::move(qmp), pid](const JobContext& context,
                                     Outcome& outcome) -> Result<std::unique_ptr<OpenedSource>> {
    auto source = std::make_unique<GivenSource>();
    TRY(source->open(qmp, pid, context, outcome));
    return source;
  };
}

}  // namespace godwit
