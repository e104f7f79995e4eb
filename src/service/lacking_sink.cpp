#include "service/lacking_sink.h"

#include <fmt/format.h>

#include "engine/sink_resumption.h"
#include "postcopy/uffd_missing_pages.h"
#include "service/recover.h"
#include "vmm/qemu/run_state.h"

namespace godwit {

namespace {

/// Members end in the reverse order: each works on those before it.
class LackingSink final : public OpenedSink {
 public:
  LackingSink(const JobContext& context, std::string qmp) : context_(context), qmp_(std::move(qmp)) {}
  Status open(pid_t pid);

  const Fingerprint& fingerprint() const noexcept override { return fingerprint_; }
  Journal& journal() noexcept override { return *journal_; }
  Result<SinkVm*> open_vm(const Fingerprint&, DeviceWay) override {
    return fail(ErrorKind::kRefused, "this QEMU has a guest already");
  }
  MatchSamples match_samples() override { return {}; }
  const LackingGuest* lacking() const noexcept override { return &guest_; }
  bool conclude() override;

 private:
  Result<LackingGuest::Memory> open_memory() const;

  const JobContext& context_;
  const std::string qmp_;
  pid_t pid_ = 0;
  std::optional<RemoteProcess> process_;
  std::optional<Journal> journal_;
  Fingerprint fingerprint_;
  LackingGuest guest_;
};

/// The monitor is not asked for anything: the thread that would answer may wait for a page itself.
Status LackingSink::open(pid_t pid) {
  pid_ = pid;
  const pid_t listener = pid != 0 ? pid : TRY(qemu::listener_of(qmp_));
  process_.emplace(TRY(RemoteProcess::open(listener)));
  const auto folder = default_state_folder();
  const VmProcess vm{process_->pid(), process_->start_time()};
  const auto nothing = [&] {
    return fail(
        ErrorKind::kNotFound,
        fmt::format("there is nothing to go on with here: no journal says that the guest of process {} runs and "
                    "lacks memory (see `godwit probe`; if that process is not QEMU, name QEMU's with --pid)",
                    process_->pid()));
  };
  const auto left = TRY(Journal::peek(folder, vm));
  if (left != Journal::State::kLacking && left != Journal::State::kStarting) return nothing();
  journal_.emplace(TRY(Journal::open(folder, vm)));
  if (journal_->found() != left) return nothing();
  auto record = journal_->missing();
  // Of a guest that never lacked anything there is none.
  if (!record && left == Journal::State::kStarting) return nothing();
  if (!record) {
    // It waits all the same: that is what has to be told.
    guest_.unusable = std::move(record).error();
    guest_.record.id = journal_->left().id;
    return {};
  }
  guest_.record = *std::move(record);
  guest_.has_all = left == Journal::State::kStarting;
  guest_.open = [this] { return open_memory(); };
  fingerprint_.vm_name = guest_.record.vm_name;
  context_.on_milestone(Milestone::kAttached);
  return {};
}

Result<LackingGuest::Memory> LackingSink::open_memory() const {
  LackingGuest::Memory memory{.pages = {}, .missing = guest_.record.words};
  if (memory.missing.empty()) memory.missing.resize(TRY(RamLayout::make(guest_.record.blocks)).chunk_count());
  memory.pages = TRY(reopen_missing_pages(*process_, guest_.record.where, memory.missing));
  return memory;
}

/// The guest has all of its memory, and its QEMU answers again: what an earlier engine could not do any more is done as
/// after any other that died.
bool LackingSink::conclude() {
  journal_.reset();
  const auto runs = [&]() -> Result<bool> {
    auto vm = TRY(qemu::attach(qmp_, pid_, context_.clock));
    std::vector<std::string> notes;
    const auto left = TRY(
        recover_if_left_behind(vm, default_state_folder(), [&](std::string_view text) { notes.emplace_back(text); }));
    // That an engine had died is known here already.
    for (const auto& text : notes) {
      if (left != LeftBehind::kHarmless && context_.on_note) context_.on_note(text);
    }
    return left != LeftBehind::kUnclear || !qemu::is_paused(vm.inspection.status);
  }();
  if (!runs && context_.on_note) {
    context_.on_note(
        "the guest has all of its memory, but its QEMU's settings could not be put back; `godwit probe` does it: " +
        runs.error().message);
  }
  return runs.value_or(true);
}

}  // namespace

OpenSink open_lacking_sink(std::string qmp, pid_t pid) {
  return [qmp = std::move(qmp), pid](const JobContext& context) -> Result<std::unique_ptr<OpenedSink>> {
    auto sink = std::make_unique<LackingSink>(context, qmp);
    TRY(sink->open(pid));
    return sink;
  };
}

}  // namespace godwit
