// `godwit receive`: waits beside a QEMU for one VM and lets it run.
#include <fmt/format.h>

#include <cstdio>
#include <thread>

#include "app/commands.h"
#include "app/error_text.h"
#include "app/exit_code.h"
#include "app/failpoint.h"
#include "app/recover.h"
#include "app/report_json.h"
#include "app/report_text.h"
#include "app/say.h"
#include "app/stop_signals.h"
#include "app/version.h"
#include "app/wiring.h"
#include "engine/journal.h"
#include "engine/sink.h"
#include "vmm/qemu/disk_images.h"
#include "vmm/qemu/incoming.h"

namespace godwit {

namespace {

Result<SinkReport> migrate(const ReceiveOptions& options, const HostProfile& host, const Clock& clock,
                           std::stop_token cancelled) {
  const auto milestone = TRY(failpoint_from_environment());
  auto vm = TRY(qemu::attach(options.qmp, options.pid, clock));
  const auto folder = default_state_folder();
  const auto left = TRY(recover_if_left_behind(vm, folder, say_note));
  TRY(check_sink_vm(vm.inspection));
  if (left == LeftBehind::kUnclear || left == LeftBehind::kCommitted) {
    return fail(ErrorKind::kRefused,
                "this QEMU takes in no VM before it is clear what a godwit that died has left (above)");
  }
  TRY(qemu::check_waits_for_us(*vm.qmp, *vm.process));
  // Held while this process lives: a second receive on this QEMU would write over the first one's guest.
  auto journal = TRY(Journal::open(folder, {vm.process->pid(), vm.process->start_time()}));
  TRY(journal.receiving());
  milestone(Milestone::kAttached);
  const auto listener = TRY(listen_on(options.listen));
  say(stderr, fmt::format("listening on {}\n", format_address(listener->address())));

  std::unique_ptr<SinkVm> sink_vm;
  auto report = run_sink(SinkParts{
      .listener = *listener,
      .journal = journal,
      .fingerprint = vm.inspection.fingerprint,
      .open_vm = [&](const Fingerprint& source) -> Result<SinkVm*> {
        const auto blocks = TRY(in_order_of(source, vm.inspection.blocks));
        sink_vm.reset();  // a source that was here before
        vm.memory = TRY(qemu::open_memory(*vm.process, blocks));
        sink_vm = qemu::make_sink_vm(vm, journal, clock);
        return sink_vm.get();
      },
      .clock = clock,
      .kernels = best_kernels(host),
      .lenience = options.lenience,
      .match_samples = [&vm](const Disk& source,
                             const Disk& sink) { return qemu::match_disk(*vm.qmp, *vm.process, source, sink); },
      .patience = options.timeout,
      .start_patience = options.start_timeout,
      .on_milestone = milestone,
      .on_note = say_note,
      .cancelled = cancelled,
      .program = std::string(kProgram),
  });
  // In doubt, the record stays: whoever looks at this QEMU with `godwit probe` is told what it holds.
  if (report.outcome != Outcome::kInDoubt) journal.clear();
  return report;
}

}  // namespace

int run_receive(const ReceiveOptions& options) {
  StopSignals signals;
  const SteadyClock clock;
  auto result = migrate(options, probe_host(), clock, signals.token());
  SinkReport report;
  if (result) {
    report = std::move(*result);
  } else {
    report.error = std::move(result).error();
  }
  if (report.error) say(stderr, fmt::format("{}\n", describe_failure(report)));
  if (report.outcome == Outcome::kDone) say(stderr, render_report(report));
  if (!options.report_file.empty()) {
    if (const Status written = write_report_json(report, options.report_file); !written)
      say_note(written.error().message);
  }
  return to_int(exit_code_of(report.outcome));
}

}  // namespace godwit
