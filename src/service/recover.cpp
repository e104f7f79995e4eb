#include "service/recover.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "postcopy/uffd_missing_pages.h"
#include "throttle/throttle.h"
#include "vmm/qemu/device_file.h"
#include "vmm/qemu/migration_settings.h"
#include "vmm/qemu/revive.h"
#include "vmm/qemu/run_state.h"

namespace godwit {

namespace {

using State = Journal::State;

constexpr std::string_view kMovedText =
    "this VM has been moved: the move was committed, so its guest never runs here again (it may be running at the "
    "destination). Look there; then end this QEMU.";
constexpr std::string_view kFollowingText =
    "this VM was given to the destination, and may wait there for memory that only this QEMU has (post-copy; a godwit "
    "died, or lost the other side). Do not end this QEMU: without it the VM there cannot go on. Start `godwit send` "
    "again, "
    "with --resume, and the same at the destination; if that says that all is there, end this QEMU. If `receive` there "
    "said "
    "'Not received' and its QEMU has ended, the VM is here alone: `cont` in this QEMU's monitor.";
constexpr std::string_view kLackingText =
    "this VM was taken in here before all of its memory had come (post-copy), and a godwit died, or lost the other "
    "side. "
    "If it runs, it waits as soon as it touches what is missing. Do not end the QEMU at the source, which alone has "
    "that: start `godwit receive` again, with --resume, and the same at the source. If it is paused, do not let it "
    "run: "
    "it is not whole; if the VM at the source runs, end this QEMU.";
constexpr std::string_view kRevivedText =
    "a godwit died while it moved this VM and left its guest paused. The move had not been committed, so the "
    "destination cannot have started it: the guest has been let run on here.";
constexpr std::string_view kHarmlessText =
    "a godwit died while it moved this VM. It had not stopped the guest; nothing was lost.";
constexpr std::string_view kPausedText =
    "a godwit died while it moved this VM, which was paused, and did not commit the move. QEMU calls it 'postmigrate' "
    "since: if nobody has moved it by other means, `cont` and `stop` in QEMU's monitor make it 'paused' again.";
constexpr std::string_view kPreparedText =
    "a godwit died while it received a VM into this QEMU, after the VM had been loaded and before the move was "
    "committed here. The guest was not started. If `godwit send` at the source ended with 3 (in doubt), type `cont` in "
    "this QEMU's monitor; if it ended with 0, the VM is here, as it is; else it is at the source: end this QEMU.";
constexpr std::string_view kGivenText =
    "a godwit died, or gave up, after the move of this VM into this QEMU had been committed, and its guest does not "
    "run. The source has given it up, so it is here alone: type `cont` in this QEMU's monitor if it is to run.";
constexpr std::string_view kIgnoreSharedText =
    "x-ignore-shared was on in this QEMU: a save or migration of this VM by other means would have had no RAM in it. "
    "It has been turned off (a godwit that died leaves it on).";

class Recovery {
 public:
  Recovery(qemu::QemuVm& vm, Journal& journal, const std::function<void(std::string_view)>& on_note)
      : vm_(vm), journal_(journal), on_note_(on_note) {}

  Result<LeftBehind> run() {
    auto left = LeftBehind::kNothing;
    if (const auto& id = journal_.left().id; journal_.found() != State::kNone && !id.empty()) {
      on_note_(fmt::format("found the journal of migration {}, whose godwit is gone:", id));
    }
    switch (journal_.found()) {
      case State::kNone:
        break;
      case State::kMigrating:
        left = harmless();
        break;
      case State::kPausing:
      case State::kPaused:
        left = after(TRY(qemu::revive_after_pause(*vm_.qmp, *vm_.process, journal_.left().mark)));
        break;
      case State::kHandingOver:
      case State::kStopped:
        left = after(TRY(revive()));
        break;
      case State::kCommitted:
        left = committed();
        break;
      case State::kFollowing:
        on_note_(kFollowingText);
        left = LeftBehind::kCommitted;
        break;
      case State::kLacking:
        on_note_(kLackingText);
        left = LeftBehind::kUnclear;
        break;
      case State::kReceiving:
      case State::kStarting:
        left = received();
        if (journal_.found() == State::kReceiving && !nobody_waits()) left = LeftBehind::kUnclear;
        break;
    }
    qemu::take_back_left_files(*vm_.qmp);
    const bool clean = TRY(put_settings_back());
    if (left == LeftBehind::kUnclear || left == LeftBehind::kCommitted) return left;
    journal_.clear();  // except for settings that could not be put back
    return clean ? left : LeftBehind::kUnclear;
  }

 private:
  /// Devices that are saved directly leave a guest as a pause does.
  Result<qemu::Revived> revive() {
    const std::string& mark = journal_.left().mark;
    if (qemu::is_mark_of_pause(mark)) return qemu::revive_after_pause(*vm_.qmp, *vm_.process, mark);
    return qemu::revive_after_handover(*vm_.qmp, mark);
  }

  LeftBehind harmless() {
    on_note_(vm_.inspection.status == "postmigrate" ? kPausedText : kHarmlessText);
    return LeftBehind::kHarmless;
  }

  LeftBehind after(const qemu::Revived& revived) {
    switch (revived.what) {
      case qemu::Revival::kRuns:
        return harmless();
      case qemu::Revival::kLetRun:
        changed_ = true;
        on_note_(kRevivedText);
        return LeftBehind::kRevived;
      case qemu::Revival::kNotOurs:
      case qemu::Revival::kUnderWay:
        break;
    }
    on_note_(
        fmt::format("a godwit died while it moved this VM, and did not commit the move. Its guest does not run, and is "
                    "left alone, because {}. If nobody has moved it elsewhere and it is to run here, type `cont` in "
                    "QEMU's monitor.",
                    revived.why));
    return LeftBehind::kUnclear;
  }

  LeftBehind committed() {
    if (vm_.inspection.status != "running") {
      on_note_(kMovedText);
    } else {
      on_note_(
          fmt::format("the move of this VM was committed, and yet its guest runs here: somebody let it run on. If it "
                      "runs at the destination too, end one of them at once. If it does not, this is the only one: "
                      "keep it, and remove {} to move it again.",
                      journal_.path()));
    }
    return LeftBehind::kCommitted;
  }

  LeftBehind received() {
    const std::string& status = vm_.inspection.status;
    const bool given = journal_.found() == State::kStarting;
    if (status == "inmigrate") {
      on_note_("a godwit died while it waited with this QEMU for a VM. None was started here.");
      return LeftBehind::kHarmless;
    }
    if (status == "running") {
      on_note_("a godwit died after the VM that it received into this QEMU had been started. It runs here.");
      if (given) announce();
      return LeftBehind::kHarmless;
    }
    if (!qemu::is_paused(status)) {
      on_note_(
          fmt::format("a godwit died while or after it received a VM into this QEMU, and QEMU says that the VM is '{}' "
                      "now: it has been moved on, saved or ended since, and is left alone.",
                      status));
      return LeftBehind::kHarmless;
    }
    on_note_(given ? kGivenText : kPreparedText);
    return LeftBehind::kUnclear;
  }

  /// For memory that the dead engine had taken away, because the guest was to run before it came. False: somebody may,
  /// for ever.
  bool nobody_waits() {
    auto record = journal_.missing();
    if (!record && record.error().kind == ErrorKind::kNotFound) return true;
    const Status ended = [&]() -> Status {
      auto known = TRY(std::move(record));
      auto pages = TRY(reopen_missing_pages(*vm_.process, known.where, known.words));
      return pages->end();
    }();
    if (ended) return true;
    on_note_("whoever touches this QEMU's memory waits for pages that do not come: start it again (" +
             ended.error().message + ")");
    return false;
  }

  /// The dead engine may not have come to it; twice does no harm.
  void announce() {
    const qemu::Json rounds{{"initial", 50}, {"max", 550}, {"rounds", 5}, {"step", 100}};
    if (const auto announced = vm_.qmp->execute("announce-self", rounds); !announced) {
      on_note_("it could not be announced on the network: " + announced.error().message);
    }
  }

  /// True if nothing of a dead engine's settings is left.
  Result<bool> put_settings_back() {
    const bool rests = TRY(qemu::at_rest(*vm_.qmp));
    if (!rests) {
      on_note_(
          "a migration of this VM is under way that this godwit has not begun: what a godwit that died set in QEMU is "
          "put back when the next godwit command comes after its end.");
      return false;
    }
    const std::string& settings = journal_.left().settings;
    if (!settings.empty()) {
      TRY_IN("put QEMU's migration settings back", qemu::restore_settings(*vm_.qmp, settings));
      journal_.settings_put_back();
      on_note_("QEMU's migration settings have been put back as they were before that godwit changed them.");
    } else {
      const bool was_on = TRY(qemu::turn_off_ignore_shared(*vm_.qmp));
      if (was_on) on_note_(kIgnoreSharedText);
    }
    if (changed_) vm_.inspection = TRY(qemu::inspect(*vm_.qmp, *vm_.process));
    return true;
  }

  qemu::QemuVm& vm_;
  Journal& journal_;
  const std::function<void(std::string_view)>& on_note_;
  bool changed_ = false;
};

}  // namespace

Result<LeftBehind> recover_if_left_behind(qemu::QemuVm& vm, const std::string& state_folder,
                                          const std::function<void(std::string_view)>& on_note) {
  // First: what follows waits for QEMU, and a throttled one answers late.
  for (const auto& note : undo_left_throttles(state_folder)) on_note(note);
  const VmProcess process{vm.process->pid(), vm.process->start_time()};
  const State left = TRY(Journal::peek(state_folder, process));
  if (left == State::kNone) {
    const bool ignores_shared = TRY(qemu::ignores_shared(*vm.qmp));
    if (!ignores_shared) return LeftBehind::kNothing;
  }
  // Held from here on: no engine can begin its work in between.
  auto journal = TRY(Journal::open(state_folder, process));
  return Recovery(vm, journal, on_note).run();
}

}  // namespace godwit
