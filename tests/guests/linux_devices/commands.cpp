// See commands.h.
#include "commands.h"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <functional>
#include <map>
#include <thread>

namespace godwit::guest {

void short_pause() {
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
}

std::string os_error(const std::string& what) {
  return "error: " + what + ": " + std::strerror(errno);
}

std::string obey(std::istringstream& line) {
  static const std::map<std::string, std::function<std::string(std::istringstream&)>> kCommands = {
      {"disk-write", disk_write},
      {"disk-check", disk_check},
      {"disk-busy", disk_busy},
      {"disk-rest", disk_rest},
      {"net-up", net_up},
      {"ping", ping},
      {"clocks", clocks},
      {"clock-source", clock_source},
      {"rtc-ticks", rtc_ticks},
      {"nap", nap},
      {"draw", draw},
      {"screen", screen},
      {"input-forget", input_forget},
      {"input", input},
      {"tpm-extend", tpm_extend},
      {"tpm-read", tpm_read},
      {"variable-write", variable_write},
      {"variable-read", variable_read},
      {"random", random_bytes},
      {"memory", memory},
      {"port-send", port_send},
      {"port-receive", port_receive},
      {"cpus", cpus},
  };
  std::string name;
  line >> name;
  const auto command = kCommands.find(name);
  return command == kCommands.end() ? "error: unknown command " + name : command->second(line);
}

}  // namespace godwit::guest
