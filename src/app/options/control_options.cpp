// The words of `godwit control`.
#include <CLI/CLI.hpp>
#include <memory>

#include "app/option_values.h"
#include "app/options/command_parsers.h"
#include "app/options/option_texts.h"

namespace godwit {

namespace {

using namespace std::chrono_literals;

constexpr const char* kControlExamples =
    "Commands:\n"
    "  status                     how far it is, and by which goals\n"
    "  set GOAL VALUE             max-downtime 100ms, bandwidth 2.5Gbit|none, timeout 2h, deadline 10min|none,\n"
    "                             on-deadline cancel|pause|postcopy, guest-slowdown 30%\n"
    "  cancel                     the guest stays at the source\n"
    "  switch-over-now            the guest is paused until the rest has been sent, however long that takes\n"
    "  postcopy-now               the guest runs at the destination, and the rest follows\n"
    "\n"
    "Examples:\n"
    "  godwit send ... --control /run/vm1.control\n"
    "  godwit control /run/vm1.control set max-downtime 200ms\n"
    "\n"
    "What makes no sense, or no sense any more, is refused in a sentence (exit code 1), and the move goes on.\n";

struct ControlTexts {
  Text socket;
  std::vector<std::string> words;
  bool json = false;
};

CLI::App* add_control(CLI::App& app, ControlTexts& texts) {
  CLI::App* control = app.add_subcommand("control", "Steer a `godwit send --control SOCKET` that is under way");
  control->add_option("SOCKET", texts.socket, "of that `send` (required)");
  control->add_option("COMMAND", texts.words, "what is wanted, as below (required)")->type_name("");
  control->add_flag("--json", texts.json, "print the whole answer as JSON");
  control->footer(kControlExamples);
  return control;
}

Result<Command> read_control(const ControlTexts& texts) {
  if (!texts.socket) return missing("control", "the socket of a `godwit send --control SOCKET`", "/run/vm1.control");
  if (texts.words.empty()) return missing("control", "a command", "status");
  ControlOptions options;
  options.socket = TRY(socket_path_value("control", *texts.socket));
  options.request = TRY(control_request_of(texts.words));
  options.json = texts.json;
  return options;
}

}  // namespace

CommandParser control_parser(CLI::App& app) {
  const auto texts = std::make_shared<ControlTexts>();
  return {.command = add_control(app, *texts), .read = [=] { return read_control(*texts); }};
}

}  // namespace godwit
