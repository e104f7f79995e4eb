// `godwit probe`: says what this host can do and, with --qmp, whether the VM there can be moved.
//
// It changes nothing except what an engine that died has left (recover.h): a guest that it certainly has paused
// is let run on, because whoever asks after it wants to have it running, and QEMU's migration settings are put back.
#include <fmt/format.h>

#include <cstdio>

#include "app/commands.h"
#include "app/error_text.h"
#include "app/exit_code.h"
#include "app/probe_findings.h"
#include "app/probe_json.h"
#include "app/probe_text.h"
#include "app/say.h"
#include "service/recover.h"
#include "service/wiring.h"
#include "vmm/qemu/qemu_vm.h"

namespace godwit {

namespace {

Result<VmFindings> look_at_vm(const ProbeOptions& options, const HostProfile& host) {
  const SteadyClock clock;
  qemu::QemuVm vm = TRY(qemu::attach(options.qmp, options.pid, clock));
  VmFindings found;
  const auto note = [&](std::string_view text) { found.notes.emplace_back(text); };
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

}  // namespace

int run_probe(const ProbeOptions& options) {
  Findings findings;
  findings.host = probe_host();
  findings.lacks = lacks_of(findings.host);
  if (!options.qmp.empty()) {
    auto vm = look_at_vm(options, findings.host);
    if (!vm) {
      say(stderr, fmt::format("{}\n", describe_failed_probe(vm.error())));
      return to_int(ExitCode::kFailed);
    }
    findings.vm = std::move(*vm);
  }
  say(stdout, options.json ? probe_json(findings) : probe_text(findings));
  return to_int(!findings.vm || findings.vm->verdict.can_be_moved ? ExitCode::kDone : ExitCode::kFailed);
}

}  // namespace godwit
