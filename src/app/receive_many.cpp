// `godwit receive --keep`: one address where VMs come in one after the other, and side by side.
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>

#include "app/choose_trust.h"
#include "app/commands.h"
#include "app/confinement.h"
#include "app/error_text.h"
#include "app/exit_code.h"
#include "app/failpoint.h"
#include "app/monitor_folder.h"
#include "app/open_log.h"
#include "app/own_rights.h"
#include "app/printable.h"
#include "app/report_json.h"
#include "app/report_text.h"
#include "app/say.h"
#include "app/stop_signals.h"
#include "app/version.h"
#include "service/qemu_sink.h"
#include "service/receive_service.h"

namespace godwit {

namespace {

Result<OpenSink> open_for(const ReceiveOptions& options, const std::string& vm_name) {
  if (options.qmp_dir.empty()) return open_qemu_sink(options.qmp, options.pid);
  return open_qemu_sink(TRY(monitor_for(options.qmp_dir, vm_name)), 0);
}

void show(const SinkReport& report, const std::string& report_file, const OwnRights& own) {
  if (!report_file.empty()) {
    if (const Status written = append_report_json(report, report_file); !written) say_note(written.error().message);
  }
  if (report.error) say(stderr, fmt::format("{}\n", describe_failure(report, own)));
  if (report.outcome == Outcome::kDone) say(stderr, render_report(report));
}

Status serve(const ReceiveOptions& options, const OpenedLog& log, const Clock& clock, const NeededRights& rights,
             const OwnRights& own, const std::stop_token& stop) {
  auto milestone = TRY(failpoint_from_environment());
  auto tls = TRY(make_tls(options.tls, TlsSide::kServer, options.listen));
  ReceiveService service(
      {.open_for = [&](const std::string& vm_name) { return open_for(options, vm_name); },
       .listen = options.listen,
       .tls = std::move(tls),
       .lenience = options.lenience,
       .start_timeout = options.start_timeout,
       .at_once = options.at_once,
       .program = std::string(kProgram)},
      {.on_listening =
           [&](const Address& at) {
             limit_at_work(rights);
             say(stderr, fmt::format("listening on {}\n", format_address(at)));
           },
       .on_milestone = std::move(milestone),
       .on_note = say_note,
       .on_report = [&](const SinkReport& report) { show(report, options.report_file, own); }},
      [&] { return log.writer ? Log(log.writer, options.log.level, clock) : Log(); }, probe_host(), clock);
  return service.run(stop);
}

}  // namespace

int run_receive_many(const ReceiveOptions& options) {
  // As it was started: what a denial is explained by.
  const OwnRights own = own_rights();
  const NeededRights rights = rights_of_receive();
  limit_to_open(rights);
  StopSignals signals;
  const SteadyClock clock;
  const auto log = open_log(options.log, clock, std::getenv("JOURNAL_STREAM"));
  if (!log) {
    say(stderr, fmt::format("{}\n", log.error().message));
    return to_int(ExitCode::kUsage);
  }
  const Status served = serve(options, *log, clock, rights, own, signals.token());
  if (!served) say(stderr, fmt::format("{}\n", printable(served.error().message)));
  const int code = to_int(served ? ExitCode::kDone : ExitCode::kFailed);
  log->log.info("exit", {{"code", code}});
  if (const auto lost = describe_lost_lines(*log); !lost.empty()) say_note(lost);
  return code;
}

}  // namespace godwit
