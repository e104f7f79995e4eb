// The option of `godwit relay`, which `send --ssh-data` starts.
#include <CLI/CLI.hpp>
#include <memory>

#include "app/option_values.h"
#include "app/options/command_parsers.h"
#include "app/options/option_texts.h"

namespace godwit {

namespace {

struct RelayTexts {
  Text socket;
};

/// For `send --ssh-data`, which starts it: not shown.
CLI::App* add_relay(CLI::App& app, RelayTexts& texts) {
  CLI::App* relay = app.add_subcommand("relay", "Pass standard input and output on to a socket")->group("");
  add(*relay, "--socket", texts.socket, "PATH", "where `receive` listens (required)");
  return relay;
}

Result<Command> read_relay(const RelayTexts& texts) {
  if (!texts.socket) return missing("relay", "--socket", "/run/godwit/ssh-1/socket");
  return RelayOptions{.socket = TRY(socket_path_value("--socket", *texts.socket))};
}

}  // namespace

CommandParser relay_parser(CLI::App& app) {
  const auto texts = std::make_shared<RelayTexts>();
  return {.command = add_relay(app, *texts), .read = [=] { return read_relay(*texts); }};
}

}  // namespace godwit
