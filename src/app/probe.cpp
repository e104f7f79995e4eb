// `godwit probe`: says what this host can do and, with --qmp, whether the VM there can be moved.
//
// It changes nothing except what an engine that died has left (recover.h): a guest that it certainly has paused
// is let run on, because whoever asks after it wants to have it running, and QEMU's migration settings are put back.
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>

#include "app/commands.h"
#include "app/confinement.h"
#include "app/error_text.h"
#include "app/exit_code.h"
#include "app/left_report.h"
#include "app/open_log.h"
#include "app/probe_findings.h"
#include "app/probe_json.h"
#include "app/probe_text.h"
#include "app/say.h"
#include "app/version.h"
#include "engine/journal_file.h"
#include "service/accelerator_choice.h"
#include "service/job_log.h"
#include "service/recover.h"
#include "service/wiring.h"
#include "vmm/qemu/qemu_vm.h"

namespace godwit {

namespace {

Result<VmFindings> look_at_vm(const ProbeOptions& options, const HostProfile& host, const Clock& clock,
                              const Log& log) {
  qemu::QemuVm vm = TRY(qemu::attach(options.qmp, options.pid, clock));
  VmFindings found;
  const auto note = logged(log, [&](std::string_view text) { found.notes.emplace_back(text); });
  const LeftBehind left = TRY(recover_if_left_behind(vm, default_state_folder(), note));
  // A QEMU that only waits for a VM is not tracked.
  if (vm.inspection.status != "inmigrate") TRY(add_tracking_obstacles(vm));
  const auto choice = TRY(choose_device_way(vm, {}));
  found.devices = choice.way;
  found.why_stream = choice.why_stream;
  found.pid = vm.process->pid();
  found.verdict = judge(host, vm.inspection, left == LeftBehind::kCommitted);
  found.inspection = std::move(vm.inspection);
  return found;
}

int look(const ProbeOptions& options, const Clock& clock, const Log& log) {
  Findings findings;
  findings.host = probe_host();
  findings.lacks = lacks_of(findings.host);
  findings.accelerators_tried = try_accelerators(findings.host.accelerator_devices);
  findings.moves_by_ssh = left_reports_in(default_state_folder());
  if (!options.qmp.empty()) {
    auto vm = look_at_vm(options, findings.host, clock, log);
    if (!vm) {
      log.error("failed", {{"kind", name_of(vm.error().kind)}, {"text", vm.error().message}});
      say(stderr, fmt::format("{}\n", describe_failed_probe(vm.error())));
      // Where its QEMU has gone they may be all that tells how its move ended.
      say(stderr, moves_by_ssh_text(findings.moves_by_ssh));
      return to_int(ExitCode::kFailed);
    }
    findings.vm = std::move(*vm);
    log.info("vm", {{"name", findings.vm->inspection.fingerprint.vm_name},
                    {"status", findings.vm->inspection.status},
                    {"can_be_moved", findings.vm->verdict.can_be_moved}});
  }
  say(stdout, options.json ? probe_json(findings) : probe_text(findings));
  return to_int(!findings.vm || findings.vm->verdict.can_be_moved ? ExitCode::kDone : ExitCode::kFailed);
}

}  // namespace

int run_probe(const ProbeOptions& options) {
  limit_to_open(rights_of_probe());
  const SteadyClock clock;
  const auto log = open_log(options.log, clock, std::getenv("JOURNAL_STREAM"));
  if (!log) {
    say(stderr, fmt::format("{}\n", log.error().message));
    return to_int(ExitCode::kUsage);
  }
  log->log.info("start", {{"program", kProgram}, {"command", "probe"}, {"qmp", options.qmp}});
  const int code = look(options, clock, log->log);
  log->log.info("exit", {{"code", code}});
  if (const auto lost = describe_lost_lines(*log); !lost.empty()) say_note(lost);
  return code;
}

}  // namespace godwit
