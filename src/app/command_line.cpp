// CLI11 splits the words and prints the help; every value is checked in option_values.cpp, so that all messages read
// alike. CLI11's exceptions end here.
#include "app/command_line.h"

#include <CLI/CLI.hpp>
#include <string>

#include "app/exit_code.h"
#include "app/options/command_parsers.h"
#include "app/options/complaint.h"
#include "app/version.h"

namespace godwit {

namespace {

constexpr const char* kDescription =
    "godwit moves a running QEMU virtual machine to another host.\n"
    "`receive` waits on the destination, beside a QEMU started with -S -incoming defer;\n"
    "`send` moves the VM there; `probe` says what a host and a VM can do;\n"
    "`forecast` says beforehand how a move would go;\n"
    "`control` steers a `send` that is under way;\n"
    "`keygen` makes what two hosts need to know each other.";

constexpr const char* kExamples =
    "Example:\n"
    "  host-b$ godwit receive --qmp /run/vm1.qmp --listen tcp://0.0.0.0:4444\n"
    "  host-a$ godwit send --qmp /run/vm1.qmp --to tcp://host-b:4444 --max-downtime 30ms\n";

}  // namespace

Result<Command> parse_command_line(int count, const char* const* arguments, unsigned cpus) {
  CLI::App app(kDescription, "godwit");
  app.set_version_flag("--version", std::string(kProgram));
  app.footer(std::string(kExamples) + "\n" + std::string(kExitCodeHelp) +
             "\n\nMore: godwit send --help, godwit receive --help, godwit probe --help, godwit forecast --help,\n"
             "godwit control --help, godwit keygen --help");
  app.require_subcommand(0, 1);
  // In the order of the help.
  const CommandParser parsers[] = {send_parser(app, cpus),     receive_parser(app), probe_parser(app),
                                   forecast_parser(app, cpus), keygen_parser(app),  relay_parser(app),
                                   control_parser(app)};
  try {
    app.parse(count, arguments);
  } catch (const CLI::CallForHelp&) {
    return ShowText{app.help()};
  } catch (const CLI::CallForVersion&) {
    return ShowText{std::string(kProgram) + "\n"};
  } catch (const CLI::ParseError& error) {
    return fail(ErrorKind::kInvalidArgument, complaint_of(app, error));
  } catch (const std::exception& error) {
    return fail(ErrorKind::kInvalidArgument, error.what());
  }
  for (const CommandParser& parser : parsers) {
    if (parser.command->parsed()) return parser.read();
  }
  return fail(ErrorKind::kInvalidArgument,
              "godwit: a command is missing: send, receive, probe, forecast, control or keygen; see godwit --help");
}

}  // namespace godwit
