// `godwit receive`: waits beside a QEMU for one VM and lets it run. The job does it; here is what the operator sees.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <optional>
#include <utility>

#include "app/choose_trust.h"
#include "app/commands.h"
#include "app/confinement.h"
#include "app/error_text.h"
#include "app/exit_code.h"
#include "app/failpoint.h"
#include "app/left_report.h"
#include "app/open_log.h"
#include "app/own_rights.h"
#include "app/report_json.h"
#include "app/report_text.h"
#include "app/say.h"
#include "app/ssh_ends.h"
#include "app/stop_signals.h"
#include "app/version.h"
#include "engine/journal_file.h"
#include "service/lacking_sink.h"
#include "service/qemu_sink.h"
#include "service/receive_job.h"

namespace godwit {

namespace {

ReceiveRequest request_of(const ReceiveOptions& options, ReceiveTrust trust) {
  return {
      .open = options.resume ? open_lacking_sink(options.qmp, options.pid) : open_qemu_sink(options.qmp, options.pid),
      .listen = std::move(trust.listen),
      .tls = std::move(trust.tls),
      .lenience = options.lenience,
      .timeout = options.timeout,
      .start_timeout = options.start_timeout,
      .decoder = options.decoder,
      .program = std::string(kProgram),
      .resumes = options.resume};
}

/// Where to listen, and whom to trust there; of a near side both come by ssh.
Result<ReceiveTrust> trust_of(const ReceiveOptions& options, NearSide* near) {
  if (near != nullptr) return take_ssh_trust(*near, options.listen, options.ssh_data);
  auto tls = TRY(make_tls(options.tls, TlsSide::kServer, options.listen));
  return ReceiveTrust{options.listen, std::move(tls)};
}

}  // namespace

int run_receive(const ReceiveOptions& options) {
  // As it was started: what a denial is explained by.
  const OwnRights own = own_rights();
  const NeededRights rights = rights_of_receive();
  limit_to_open(rights);
  StopSignals signals;
  const SteadyClock clock;
  auto log = open_log(options.log, clock, std::getenv("JOURNAL_STREAM"));
  if (!log) {
    say(stderr, fmt::format("{}\n", log.error().message));
    return to_int(ExitCode::kUsage);
  }
  std::optional<NearSide> near;
  if (options.over_ssh) near.emplace(STDIN_FILENO, STDOUT_FILENO);
  SinkReport report;
  auto milestone = failpoint_from_environment();
  auto trust = trust_of(options, near ? &*near : nullptr);
  if (milestone && trust) {
    auto folder = std::exchange(trust->folder, std::nullopt);
    ReceiveJob job(request_of(options, std::move(*trust)),
                   {.on_listening =
                        [&](const Address& at) {
                          limit_at_work(rights);
                          if (near) return near->tell(RemoteListening{at});
                          say(stderr, fmt::format("listening on {}\n", format_address(at)));
                        },
                    .on_milestone = removing_when_connected(folder, std::move(*milestone)),
                    .on_note = say_note},
                   log->log, probe_host(), clock);
    const std::stop_callback on_signal(signals.token(), [&job] { job.cancel(); });
    if (near) {
      near->watch([&](const std::string& why) {
        log->log.warning("near-side-gone", {{"text", why}});
        job.cancel(why);
      });
    }
    report = job.wait();
    if (near) near->watch_no_more();
  } else {
    report.error = milestone ? std::move(trust).error() : std::move(milestone).error();
  }
  const int code = to_int(exit_code_of(report.outcome));
  if (near) {
    // First, for nobody may hear it any more.
    if (const Status left = leave_report(report, default_state_folder()); !left) say_note(left.error().message);
    near->tell(ssh_report_of(report, code, own));
  } else {
    if (report.error) say(stderr, fmt::format("{}\n", describe_failure(report, own)));
    if (report.outcome == Outcome::kDone) say(stderr, render_report(report));
  }
  if (!options.report_file.empty()) {
    if (const Status written = write_report_json(report, options.report_file); !written)
      say_note(written.error().message);
  }
  log->log.info("exit", {{"code", code}});
  if (const auto lost = describe_lost_lines(*log); !lost.empty()) say_note(lost);
  return code;
}

}  // namespace godwit
