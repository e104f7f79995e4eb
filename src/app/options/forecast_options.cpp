// The options of `godwit forecast`, most of which are those of `send`.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "app/option_values.h"
#include "app/options/command_parsers.h"
#include "app/options/option_texts.h"

namespace godwit {

namespace {

using namespace std::chrono_literals;

constexpr const char* kForecastExamples =
    "Examples:\n"
    "  godwit forecast --qmp /run/vm1.qmp --to tcp://host-b:4444\n"
    "  godwit forecast --qmp /run/vm1.qmp --bandwidth 1Gbit --max-downtime 300ms --json\n"
    "\n"
    "Watches the VM for some seconds; nothing is moved or paused. The exit code is 0 if a move would converge\n"
    "and 8 if it would not.\n";

struct ForecastTexts : SharedTexts {
  Text to, bandwidth, seconds, lanes, encoding_threads, codec, max_downtime, timeout, free_pages, devices;
  bool allow_nested = false, json = false;
};

CLI::App* add_forecast(CLI::App& app, ForecastTexts& texts, unsigned cpus) {
  CLI::App* forecast = app.add_subcommand("forecast", "Watch a VM for some seconds and say how a move would go");
  add(*forecast, "--qmp", texts.qmp, "PATH", "QEMU's monitor: a Unix socket (required)");
  add(*forecast, "--to", texts.to, "ADDRESS", "measure the link to a `godwit receive` that waits there");
  add(*forecast, "--bandwidth", texts.bandwidth, "RATE", "instead: what the link takes, e.g. 10Gbit");
  add(*forecast, "--seconds", texts.seconds, "N", "how long to watch, 1 to 600 [5]");
  add(*forecast, "--max-downtime", texts.max_downtime, "TIME", "longest pause of the guest to plan for [50ms]");
  add(*forecast, "--timeout", texts.timeout, "TIME", "when a move would give up [1h]");
  add(*forecast, "--codec", texts.codec, "CODEC", "as for send [auto]");
  add(*forecast, "--free-pages", texts.free_pages, "skip|send", "as for send [skip]");
  add(*forecast, "--devices", texts.devices, "auto|direct|stream", "as for send [auto]");
  add(*forecast, "--lanes", texts.lanes, "N", fmt::format("as for send [{}]", default_lanes(cpus)));
  add(*forecast, "--encoding-threads", texts.encoding_threads, "N", "as for send [CPUs less lanes]");
  add(*forecast, "--pid", texts.pid, "PID", "QEMU's process [the one behind its monitor]");
  forecast->add_flag("--allow-nested", texts.allow_nested, "as for send");
  add_tls(*forecast, texts, "the host of --to");
  forecast->add_flag("--json", texts.json, "print JSON");
  add_log(*forecast, texts);
  forecast->footer(kForecastExamples);
  return forecast;
}

Result<Command> read_forecast(const ForecastTexts& texts, unsigned cpus) {
  if (!texts.qmp) return missing("forecast", "--qmp", "/run/vm1.qmp");
  if (!texts.bandwidth && !texts.to) return missing("forecast", "--to", "tcp://host-b:4444");
  if (texts.bandwidth && texts.to) {
    return fail(ErrorKind::kInvalidArgument, "--to measures the link, and --bandwidth says what it takes: give one");
  }
  ForecastOptions options;
  if (texts.to) options.to = TRY_IN("--to", parse_address(*texts.to));
  TRY(read_tls(texts, options.tls));
  options.qmp = TRY(socket_path_value("--qmp", *texts.qmp));
  if (texts.pid) options.pid = TRY(pid_value("--pid", *texts.pid));
  Goals& goals = options.goals;
  if (texts.bandwidth) goals.bandwidth = TRY(bandwidth_value("--bandwidth", *texts.bandwidth));
  if (texts.seconds) options.length = TRY(duration_value("--seconds", *texts.seconds + "s", 1s, 600s));
  goals.lanes = texts.lanes ? TRY(lanes_value("--lanes", *texts.lanes)) : default_lanes(cpus);
  if (texts.encoding_threads) {
    goals.encoding_threads = TRY(encoding_threads_value("--encoding-threads", *texts.encoding_threads));
  }
  if (texts.codec && *texts.codec != kAutoCodec) goals.codec = TRY_IN("--codec", parse_codec(*texts.codec));
  if (texts.max_downtime) {
    goals.max_downtime = TRY(duration_value("--max-downtime", *texts.max_downtime, 1ms, 10min));
  }
  if (texts.timeout) goals.timeout = TRY(duration_value("--timeout", *texts.timeout, 1s, 168h));
  if (texts.free_pages) options.skip_free_pages = TRY(free_pages_value("--free-pages", *texts.free_pages));
  if (texts.devices) options.devices = TRY(devices_value("--devices", *texts.devices));
  options.allow_nested = texts.allow_nested;
  options.json = texts.json;
  TRY(read_log(texts, options.log));
  return options;
}

}  // namespace

CommandParser forecast_parser(CLI::App& app, unsigned cpus) {
  const auto texts = std::make_shared<ForecastTexts>();
  return {.command = add_forecast(app, *texts, cpus), .read = [=] { return read_forecast(*texts, cpus); }};
}

}  // namespace godwit
