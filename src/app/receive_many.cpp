// `godwit receive --keep`: one address where VMs come in one after the other, and side by side.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <sstream>

#include "app/background_output.h"
#include "app/choose_trust.h"
#include "app/commands.h"
#include "app/confinement.h"
#include "app/descriptors.h"
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

Result<WaitingPlace> open_for(const ReceiveOptions& options, const std::string& vm_name) {
  if (options.qmp_dir.empty()) return WaitingPlace{options.qmp, open_qemu_sink(options.qmp, options.pid)};
  const std::string monitor = TRY(monitor_for(options.qmp_dir, vm_name));
  return WaitingPlace{monitor, open_qemu_sink(monitor, 0)};
}

/// Each line under the name of its VM: of many moves side by side nobody could tell otherwise whose it is.
std::string named_lines(const SinkReport& report, const std::string& text) {
  const std::string name = printable(name_of_move(report.vm_name, report.id));
  std::string out;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) out += fmt::format("{}: {}\n", name, line);
  return out;
}

void show(const SinkReport& report, const std::string& report_file, const OwnRights& own,
          const std::shared_ptr<BackgroundOutput>& output) {
  if (!report_file.empty()) {
    // Whoever is told of a failure to write it may be gone by then.
    output->run([report, report_file, note = std::weak_ptr(output)] {
      if (const Status written = append_report_json(report, report_file); !written) {
        if (const auto still = note.lock()) still->note(written.error().message);
      }
    });
  }
  if (report.error) output->say(named_lines(report, describe_failure_of_one(report, own)));
  if (report.outcome == Outcome::kDone) output->say(named_lines(report, render_report(report)));
}

/// Whether a VM was left in doubt.
Result<bool> serve(const ReceiveOptions& options, const OpenedLog& log, const Clock& clock, const NeededRights& rights,
                   const OwnRights& own, const std::stop_token& stop, const std::shared_ptr<BackgroundOutput>& output) {
  TRY(allow_descriptors(descriptors_for(options.at_once)));
  auto milestone = TRY(failpoint_from_environment());
  auto tls = TRY(make_tls(options.tls, TlsSide::kServer, options.listen));
  bool in_doubt = false;
  ReceiveService service(
      {.open_for = [&](const std::string& vm_name) { return open_for(options, vm_name); },
       .listen = options.listen,
       .tls = std::move(tls),
       .lenience = options.lenience,
       .start_timeout = options.start_timeout,
       .decoder = options.decoder,
       .at_once = options.at_once,
       .program = std::string(kProgram)},
      {.on_listening =
           [&](const Address& at) {
             limit_at_work(rights);
             output->say(fmt::format("listening on {}\n", format_address(at)));
           },
       .on_milestone = std::move(milestone),
       .on_note = [&](std::string_view text) { output->note(text); },
       .on_report =
           [&](const SinkReport& report) {
             in_doubt = in_doubt || report.outcome == Outcome::kInDoubt || report.outcome == Outcome::kIncomplete;
             show(report, options.report_file, own, output);
           }},
      [&] { return log.writer ? Log(log.writer, options.log.level, clock) : Log(); }, probe_host(), clock);
  TRY(service.run(stop));
  return in_doubt;
}

/// Of no single VM: it has ended because it was told to, or could not go on.
ExitCode code_of_service(const Result<bool>& in_doubt) {
  if (!in_doubt) return ExitCode::kFailed;
  return *in_doubt ? ExitCode::kInDoubt : ExitCode::kDone;
}

}  // namespace

int run_receive_many(const ReceiveOptions& options) {
  // As it was started: what a denial is explained by.
  const OwnRights own = own_rights();
  const NeededRights rights = rights_of_receive();
  limit_to_open(rights);
  StopSignals signals(OnHangUp::kGoOn);
  const SteadyClock clock;
  const auto log = open_log(options.log, clock, std::getenv("JOURNAL_STREAM"));
  if (!log) {
    say(stderr, fmt::format("{}\n", log.error().message));
    return to_int(ExitCode::kUsage);
  }
  const auto output = std::make_shared<BackgroundOutput>(STDERR_FILENO);
  const auto served = serve(options, *log, clock, rights, own, signals.token(), output);
  if (!served) output->say(fmt::format("{}\n", printable(served.error().message)));
  const int code = to_int(code_of_service(served));
  log->log.info("exit", {{"code", code}});
  if (const auto lost = describe_lost_lines(*log); !lost.empty()) output->note(lost);
  return code;
}

}  // namespace godwit
