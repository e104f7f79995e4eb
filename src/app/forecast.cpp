// `godwit forecast`: watches a VM for a few seconds and says how a move would go. It moves and pauses nothing, and
// leaves nothing behind.
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>

#include "app/choose_trust.h"
#include "app/commands.h"
#include "app/confinement.h"
#include "app/error_text.h"
#include "app/exit_code.h"
#include "app/forecast_json.h"
#include "app/open_log.h"
#include "app/say.h"
#include "app/stop_signals.h"
#include "app/version.h"
#include "engine/link_test.h"
#include "net/connect.h"
#include "service/job_log.h"
#include "service/qemu_source.h"
#include "service/vm_watch.h"
#include "tls/tls_channel.h"

namespace godwit {

namespace {

// A connection's own warm-up aside (engine/link_test.h).
constexpr Duration kMeasureLinkFor = std::chrono::seconds(2);

Result<BitRate> rate_of_link(const ForecastOptions& options, const JobContext& context) {
  if (options.goals.bandwidth) return *options.goals.bandwidth;
  const auto tls = TRY(make_tls(options.tls, TlsSide::kClient, *options.to));
  const Connect plain = [route = std::make_shared<Route>(*options.to)] { return route->connect(); };
  return TRY_IN("the link to the destination", measure_link(wrapped(plain, tls ? tls_connected(tls) : Wrap{}),
                                                            options.goals.lanes, kMeasureLinkFor, context.cancelled));
}

Result<ForecastAnswer> forecast_for(const ForecastOptions& options, Releaser* releaser, const JobContext& context) {
  const HostProfile host = probe_host();
  const BitRate link = TRY(rate_of_link(options, context));
  const WatchRequest request{.open = open_qemu_source({.qmp = options.qmp,
                                                       .pid = options.pid,
                                                       .skip_free_pages = options.skip_free_pages,
                                                       .devices = options.devices,
                                                       .allow_nested = options.allow_nested,
                                                       .releaser = releaser},
                                                      host),
                             .goals = options.goals,
                             .bandwidth = link,
                             .length = options.length,
                             .kernels = {}};
  ForecastAnswer answer{
      .vm = TRY(watch_vm(request, host, context)), .forecast = {}, .help = {}, .goals = options.goals};
  answer.goals.bandwidth = link;
  answer.forecast = make_forecast(answer.vm.input, options.goals);
  answer.help = what_would_help(answer.vm.input, options.goals, answer.forecast);
  return answer;
}

}  // namespace

int run_forecast(const ForecastOptions& options) {
  const auto releaser = Releaser::start();
  limit_to_open(rights_of_send(false));
  const StopSignals signals;
  const SteadyClock clock;
  const auto log = open_log(options.log, clock, std::getenv("JOURNAL_STREAM"));
  if (!log) {
    say(stderr, fmt::format("{}\n", log.error().message));
    return to_int(ExitCode::kUsage);
  }
  log->log.info("start", {{"program", kProgram}, {"command", "forecast"}, {"qmp", options.qmp}});
  const JobContext context{.clock = clock,
                           .on_note = logged(log->log, say_note),
                           .on_milestone = [](Milestone) {},
                           .on_guest_start = {},
                           .cancelled = signals.token()};
  const auto answer = forecast_for(options, releaser ? releaser->get() : nullptr, context);
  ExitCode code = ExitCode::kFailed;
  if (answer) {
    say(stdout, options.json ? forecast_json(*answer) : forecast_text(*answer));
    code = converges(answer->forecast.prospect) ? ExitCode::kDone : ExitCode::kWouldNotConverge;
  } else {
    log->log.error("failed", {{"kind", name_of(answer.error().kind)}, {"text", answer.error().message}});
    say(stderr, fmt::format("{}\n", describe_failed_forecast(answer.error())));
  }
  log->log.info("exit", {{"code", to_int(code)}});
  if (const auto lost = describe_lost_lines(*log); !lost.empty()) say_note(lost);
  return to_int(code);
}

}  // namespace godwit
