// `godwit send`: attaches to a running VM and moves it. The job does it; here is what the operator sees of it.
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <optional>

#include "app/choose_trust.h"
#include "app/commands.h"
#include "app/confinement.h"
#include "app/control_desk.h"
#include "app/control_server.h"
#include "app/error_text.h"
#include "app/exit_code.h"
#include "app/failpoint.h"
#include "app/open_log.h"
#include "app/own_rights.h"
#include "app/progress_printer.h"
#include "app/progress_view.h"
#include "app/report_json.h"
#include "app/report_text.h"
#include "app/say.h"
#include "app/ssh_ends.h"
#include "app/stop_signals.h"
#include "app/version.h"
#include "service/given_source.h"
#include "service/qemu_source.h"
#include "service/send_job.h"

namespace godwit {

namespace {

SendRequest request_of(const SendOptions& options, Destination& destination, const HostProfile& host,
                       Releaser* releaser, ThrottleKeeper* keeper) {
  QemuSourceOptions source{.qmp = options.qmp,
                           .pid = options.pid,
                           .skip_free_pages = options.skip_free_pages,
                           .devices = options.devices,
                           .allow_nested = options.allow_nested,
                           .releaser = releaser,
                           .keeper = keeper};
  return {
      .open = options.resume ? open_given_source(options.qmp, options.pid) : open_qemu_source(std::move(source), host),
      .to = destination.to,
      .connect = destination.lanes ? [lanes = destination.lanes.get()] { return lanes->connect(); } : Connect{},
      .goals = options.goals,
      .tls = destination.tls,
      .kernels = options.kernels,
      .program = std::string(kProgram),
      .resumes = options.resume,
      .steerable = !options.control.empty()};
}

/// The destination that is there, or is started by ssh.
Result<Destination> find_destination(const SendOptions& options, const std::stop_token& cancelled, ProgressView& view) {
  if (options.ssh) {
    return start_ssh_destination(*options.ssh, options.goals, cancelled,
                                 [&view](std::string_view line) { view.note(line); });
  }
  auto tls = TRY(make_tls(options.tls, TlsSide::kClient, options.to));
  Destination found;
  found.to = options.to;
  found.tls = std::move(tls);
  return found;
}

/// What `godwit control` reaches of a job.
class ControlledJob final : public ControlledMove {
 public:
  explicit ControlledJob(SendJob& job) : job_(job) {}
  Status change(const GoalChange& change) override { return job_.steering().change(change); }
  Status order(Order order) override { return job_.steering().order(order); }
  Status cancel() override {
    TRY(job_.steering().cancel());
    job_.cancel();
    return {};
  }
  Goals goals() const override { return job_.steering().goals(); }
  std::optional<Progress> progress() const override { return job_.progress(); }

 private:
  SendJob& job_;
};

/// Once what the guest writes is tracked, or only follows it, no system call is made in QEMU any more.
OnMilestone limiting(const NeededRights& rights, bool resumes, OnMilestone then) {
  const Milestone opened = resumes ? Milestone::kWelcomed : Milestone::kTracking;
  return [rights, opened, then = std::move(then)](Milestone milestone) {
    if (milestone == opened) limit_at_work(rights);
    if (then) then(milestone);
  };
}

void write_report_file(const SendOptions& options, const Report& report, std::string_view receiver) {
  if (options.report_file.empty()) return;
  if (const Status written = write_report_json(report, options.report_file, receiver); !written) {
    say_note(written.error().message);
  }
}

}  // namespace

int run_send(const SendOptions& options) {
  // First of all: no thread, no descriptor and no blocked signal goes into it. Without it the move works too.
  const auto releaser = Releaser::start();
  const auto keeper = options.goals.guest_slowdown > 0 || !options.control.empty() ? ThrottleKeeper::start() : nullptr;
  // As it was started: what a denial is explained by.
  const OwnRights own = own_rights();
  const NeededRights rights = rights_of_send(options.ssh.has_value());
  // A remote shell is started first, with all that this process was given: ssh may have to execute sudo, or enter a
  // namespace, to get to the other host.
  if (!options.ssh) limit_to_open(rights);
  StopSignals signals;
  const SteadyClock clock;
  auto log = open_log(options.log, clock, std::getenv("JOURNAL_STREAM"));
  if (!log) {
    say(stderr, fmt::format("{}\n", log.error().message));
    return to_int(ExitCode::kUsage);
  }
  std::unique_ptr<ControlServer> control;
  if (!options.control.empty()) {
    auto listens = ControlServer::listen(options.control);
    if (!listens) {
      say(stderr, fmt::format("{}\n", listens.error().message));
      return to_int(ExitCode::kUsage);
    }
    control = std::move(*listens);
  }
  ProgressView view(options.progress);
  std::optional<ProgressPrinter> printer(std::in_place, view);
  RemoteReceiver* remote = nullptr;
  const auto named = [&](const Report& report) {
    return remote == nullptr ? report : with_ssh_named(report, *remote, *options.ssh);
  };
  const auto show = [&](const Report& ended) {
    const Report report = named(ended);
    printer.reset();
    view.finish();
    // The file first: whoever reads it may wait for it, and what is shown may find no reader. With what a destination
    // tells at its end it is written then.
    if (remote == nullptr) write_report_file(options, report, {});
    if (report.error) {
      const SshTarget* const far = options.ssh ? &options.ssh->target : nullptr;
      say(stderr, fmt::format("{}\n", far != nullptr ? describe_failure_over_ssh(report, far->host, far->path, own)
                                                     : describe_failure(report, own)));
    }
    if (report.outcome == Outcome::kDone) say(stderr, render_report(report));
  };
  Report report;
  auto milestone = failpoint_from_environment();
  auto destination = milestone ? find_destination(options, signals.token(), view) : fail(milestone.error());
  if (options.ssh) limit_to_open(rights);
  // A terminal's Ctrl-C reaches ssh, too, whose end may be noticed first.
  if (!destination && signals.token().stop_requested()) {
    destination = fail(ErrorKind::kCancelled, "cancelled by the operator");
  }
  if (destination) {
    remote = destination->remote.get();
    const HostProfile host = probe_host();
    SendJob job(
        request_of(options, *destination, host, releaser ? releaser->get() : nullptr, keeper ? keeper->get() : nullptr),
        {.on_progress =
             [&](const Progress& progress) {
               if (printer) printer->post(progress);
             },
         .on_milestone = limiting(rights, options.resume, std::move(*milestone)),
         .on_note = say_note,
         .on_outcome = show},
        log->log, host, clock);
    const std::stop_callback on_signal(signals.token(), [&job] { job.cancel(); });
    ControlledJob controlled(job);
    {
      // Nobody asks a job that has gone, however this block is left.
      const std::unique_ptr<ControlServer> serving = std::move(control);
      if (serving) serving->serve([&controlled](std::string_view line) { return answer_request(line, controlled); });
      report = named(job.wait());
    }
    if (remote != nullptr)
      write_report_file(options, report, end_ssh_destination(*destination, *options.ssh, report.outcome));
  } else {
    report.error = std::move(destination).error();
    if (options.resume) report.outcome = Outcome::kIncomplete;
    show(report);
  }
  const int code = to_int(exit_code_of(report.outcome));
  log->log.info("exit", {{"code", code}});
  if (const auto lost = describe_lost_lines(*log); !lost.empty()) say_note(lost);
  return code;
}

}  // namespace godwit
