// `godwit send`: attaches to a running VM and moves it.
#include <fmt/format.h>

#include <cstdio>
#include <functional>
#include <optional>

#include "app/commands.h"
#include "app/error_text.h"
#include "app/exit_code.h"
#include "app/failpoint.h"
#include "app/progress_printer.h"
#include "app/progress_view.h"
#include "app/recover.h"
#include "app/report_json.h"
#include "app/report_text.h"
#include "app/say.h"
#include "app/stop_signals.h"
#include "app/version.h"
#include "app/wiring.h"
#include "codec/encoder_provider.h"
#include "engine/source.h"
#include "net/connect.h"
#include "net/rate_limit.h"
#include "vmm/qemu/disk_images.h"

namespace godwit {

namespace {

using ShowReport = std::function<void(const Report&)>;

/// Every channel of the migration goes to one of the addresses that a name has, and through one rate limit, if there is
/// one.
struct Dialler {
  std::shared_ptr<Route> route;
  std::shared_ptr<RateLimit> limit;
  Result<std::unique_ptr<Channel>> operator()() const {
    auto channel = TRY(route->connect());
    return limit ? limit_rate(std::move(channel), limit) : std::move(channel);
  }
};

Result<Report> migrate(const SendOptions& options, const HostProfile& host, const Clock& clock, Releaser* releaser,
                       std::optional<ProgressPrinter>& printer, std::stop_token cancelled, const ShowReport& show) {
  const auto milestone = TRY(failpoint_from_environment());
  TRY(check_source_host(host));
  const Kernels* kernels = &best_kernels(host);
  if (!options.kernels.empty()) kernels = TRY(kernels_by_name(options.kernels, host));

  auto vm = TRY(qemu::attach(options.qmp, options.pid, clock));
  const auto folder = default_state_folder();
  const auto left = TRY(recover_if_left_behind(vm, folder, say_note));
  if (left == LeftBehind::kCommitted) {
    // Nobody here can say more about it than after that move: look at the destination.
    Report moved;
    moved.outcome = Outcome::kInDoubt;
    moved.error = Error{ErrorKind::kRefused, "this VM has been moved already"};
    return moved;
  }
  vm.inspection.allow_nested = options.allow_nested;
  TRY(add_tracking_obstacles(vm));
  if (left == LeftBehind::kUnclear) {
    return fail(ErrorKind::kRefused,
                "this VM is not moved before it is clear what a godwit that died has left (above)");
  }
  TRY(check_source_vm(vm.inspection));
  TRY(qemu::sample_disks(*vm.qmp, *vm.process, vm.inspection.fingerprint.disks));
  for (const auto& warning : unsafe_caches(vm.inspection.fingerprint.disks)) say_note("warning: " + warning);
  auto journal = TRY(Journal::open(folder, {vm.process->pid(), vm.process->start_time()}));
  milestone(Milestone::kAttached);
  vm.memory = TRY(qemu::open_memory(*vm.process, vm.inspection.blocks));
  auto wired = TRY(wire_tracker(vm, host, clock, releaser, cancelled));
  const auto free_pages = options.skip_free_pages ? wire_free_pages(vm) : nullptr;
  const auto source_vm = qemu::make_source_vm(vm, journal, clock);

  Dialler dialler{std::make_shared<Route>(options.to), nullptr};
  if (options.goals.bandwidth) dialler.limit = std::make_shared<RateLimit>(*options.goals.bandwidth, clock);
  if (journal.found() != Journal::State::kNone) {
    return fail(ErrorKind::kRefused, "another godwit has just worked on this VM: look at it with `godwit probe`");
  }
  const HashKey hash_key = TRY(random_hash_key());
  SoftwareEncoders encoders;
  TRY(journal.begin());
  return run_source(SourceParts{
      .vm = *source_vm,
      .tracker = *wired.tracker,
      .journal = journal,
      .clock = clock,
      .kernels = *kernels,
      .encoders = encoders,
      .hash_key = hash_key,
      .connect = dialler,
      .goals = options.goals,
      .free_pages = free_pages.get(),
      .quiesce_harvests = wired.quiesce,
      .holes_may_appear = vm.inspection.gives_memory_back,
      .lift_rate_limit =
          [limit = dialler.limit] {
            if (limit) limit->lift();
          },
      .on_progress =
          [&printer](const Progress& progress) {
            if (printer) printer->post(progress);
          },
      .on_milestone = milestone,
      .on_note = say_note,
      .on_moved = show,
      .cancelled = cancelled,
      .program = std::string(kProgram),
  });
}

}  // namespace

int run_send(const SendOptions& options) {
  // First of all: no thread, no descriptor and no blocked signal goes into it. Without it the move works too.
  const auto releaser = Releaser::start();
  StopSignals signals;
  const SteadyClock clock;
  ProgressView view(options.progress);
  std::optional<ProgressPrinter> printer(std::in_place, view);
  bool shown = false;
  const auto show = [&](const Report& report) {
    shown = true;
    printer.reset();
    view.finish();
    // The file first: whoever reads it may wait for it, and what is shown may find no reader.
    if (!options.report_file.empty()) {
      if (const Status written = write_report_json(report, options.report_file); !written) {
        say_note(written.error().message);
      }
    }
    if (report.error) say(stderr, fmt::format("{}\n", describe_failure(report)));
    if (report.outcome == Outcome::kDone) say(stderr, render_report(report));
  };
  auto result =
      migrate(options, probe_host(), clock, releaser ? releaser->get() : nullptr, printer, signals.token(), show);
  Report report;
  if (result) {
    report = std::move(*result);
  } else {
    // Nothing had begun: the VM is as it was.
    report.error = std::move(result).error();
  }
  if (!shown) show(report);
  return to_int(exit_code_of(report.outcome));
}

}  // namespace godwit
