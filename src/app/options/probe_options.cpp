// The options of `godwit probe`.
#include <CLI/CLI.hpp>
#include <memory>

#include "app/exit_code.h"
#include "app/option_values.h"
#include "app/options/command_parsers.h"
#include "app/options/option_texts.h"

namespace godwit {

namespace {

constexpr const char* kProbeExamples =
    "Examples:\n"
    "  godwit probe\n"
    "  godwit probe --qmp /run/vm1.qmp --json\n"
    "\n"
    "With --qmp the exit code is 0 if the VM can be moved and 1 if it cannot.\n";

struct ProbeTexts : LogTexts {
  Text qmp, pid;
  bool json = false;
};

CLI::App* add_probe(CLI::App& app, ProbeTexts& texts) {
  CLI::App* probe = app.add_subcommand("probe", "Say what this host can do, and whether a VM on it can be moved");
  add(*probe, "--qmp", texts.qmp, "PATH", "also look at the VM behind this monitor");
  add(*probe, "--pid", texts.pid, "PID", "QEMU's process [the one behind its monitor]");
  probe->add_flag("--json", texts.json, "print JSON");
  add_log(*probe, texts);
  probe->footer(std::string(kProbeExamples) + "\n" + std::string(kExitCodeHelp));
  return probe;
}

Result<Command> read_probe(const ProbeTexts& texts) {
  ProbeOptions options;
  options.json = texts.json;
  if (texts.qmp) options.qmp = TRY(socket_path_value("--qmp", *texts.qmp));
  if (texts.pid) options.pid = TRY(pid_value("--pid", *texts.pid));
  if (texts.pid && !texts.qmp) {
    return fail(ErrorKind::kInvalidArgument, "--pid: says which QEMU is behind --qmp; give both, or neither");
  }
  TRY(read_log(texts, options.log));
  return options;
}

}  // namespace

CommandParser probe_parser(CLI::App& app) {
  const auto texts = std::make_shared<ProbeTexts>();
  return {.command = add_probe(app, *texts), .read = [=] { return read_probe(*texts); }};
}

}  // namespace godwit
