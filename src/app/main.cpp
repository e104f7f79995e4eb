// godwit: moves running virtual machines from host to host.
#include <fmt/format.h>

#include <unistd.h>

#include <cstdio>
#include <filesystem>

#include "app/command_line.h"
#include "app/commands.h"
#include "app/exit_code.h"
#include "app/printable.h"
#include "app/say.h"
#include "host/cpu.h"

namespace {

using namespace godwit;

int run(const SendOptions& options) {
  return run_send(options);
}
int run(const ReceiveOptions& options) {
  return options.keep ? run_receive_many(options) : run_receive(options);
}
int run(const ProbeOptions& options) {
  return run_probe(options);
}
int run(const ForecastOptions& options) {
  return run_forecast(options);
}
int run(const KeygenOptions& options) {
  return run_keygen(options);
}
int run(const RelayOptions& options) {
  return run_relay(options);
}
int run(const ControlOptions& options) {
  return run_control(options);
}
int run(const ShowText& show) {
  say(stdout, show.text);
  return to_int(ExitCode::kDone);
}

/// A command ends its own threads. What there is beside this one is stuck in a device's library, whose destructors must
/// not run under it.
bool threads_are_left() {
  std::error_code ignored;
  const std::filesystem::directory_iterator threads("/proc/self/task", ignored);
  return std::distance(begin(threads), end(threads)) > 1;
}

}  // namespace

int main(int argc, char** argv) {
  // 1. What is asked for? No VM has been touched until this is clear.
  const auto command = parse_command_line(argc, argv, usable_cpus());
  if (!command) {
    say(stderr, fmt::format("{}\n", printable(command.error().message)));
    return to_int(ExitCode::kUsage);
  }
  // 2. Do it: attach to QEMU, move or look, report. Each command catches its own signals and cleans up after itself.
  // 3. The exit code says where the VM is.
  const int code = std::visit([](const auto& options) { return run(options); }, *command);
  if (threads_are_left()) {
    (void)std::fflush(nullptr);
    ::_exit(code);
  }
  return code;
}
