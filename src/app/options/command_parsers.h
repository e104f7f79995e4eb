// Each command of the command line has a file that declares its options to CLI11 and reads what was given for them.
#pragma once

#include <functional>

#include "app/command_line.h"
#include "base/result.h"

namespace CLI {
class App;
}

namespace godwit {

struct CommandParser {
  const CLI::App* command;                ///< of the `app` that it was declared to
  std::function<Result<Command>()> read;  ///< once `command` has been parsed
};

/// `app` is used by all that is returned. `cpus` that this process may run on.
CommandParser send_parser(CLI::App& app, unsigned cpus);
CommandParser receive_parser(CLI::App& app);
CommandParser probe_parser(CLI::App& app);
CommandParser forecast_parser(CLI::App& app, unsigned cpus);
CommandParser keygen_parser(CLI::App& app);
CommandParser relay_parser(CLI::App& app);
CommandParser control_parser(CLI::App& app);

}  // namespace godwit
