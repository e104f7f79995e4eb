#include "vmm/qemu/incoming.h"

#include <fmt/format.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "vmm/qemu/json_access.h"
#include "vmm/qemu/migration_end.h"

namespace godwit::qemu {
namespace {

/// What comes behind -incoming on the process's command line; empty if it cannot be read or is not there.
std::string incoming_option(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/cmdline", pid));
  std::string word;
  bool is_next = false;
  // The last one counts, as it does for QEMU.
  std::string found;
  while (std::getline(file, word, '\0')) {
    if (is_next) found = word;
    is_next = word == "-incoming" || word == "--incoming";
  }
  return found.substr(0, 200);
}

std::string address_in(const Json& migration) {
  const Json& addresses = member(migration, "socket-address");
  if (!addresses.is_array() || addresses.empty()) return {};
  const Json& first = addresses.front();
  const std::string path = text_at(first, "path");
  return path.empty() ? fmt::format("{}:{}", text_at(first, "host"), text_at(first, "port")) : path;
}

}  // namespace

Status check_waits_for_us(Qmp& qmp, const RemoteProcess& process) {
  const Json migration = TRY(qmp.execute("query-migrate"));
  const std::string status = text_at(migration, "status");
  if (status == "failed") {
    const std::string reason = text_at(migration, "error-desc");
    return fail(ErrorKind::kRefused,
                fmt::format("this QEMU has failed to take in a VM{}{}, and takes in no other: start it again with -S "
                            "-incoming defer",
                            reason.empty() ? "" : ": ", reason));
  }
  const std::string option = incoming_option(process.pid());
  const std::string address = address_in(migration);
  // 7.2 says nothing of a migration for which it only listens, but where.
  if (address.empty() && !is_under_way(status) && (option.empty() || option == "defer")) return {};
  const std::string where = !option.empty() && option != "defer" ? "-incoming " + option : address;
  return fail(
      ErrorKind::kRefused,
      fmt::format("this QEMU waits for QEMU's own migration{}{}, not for godwit: start it again with -S -incoming "
                  "defer",
                  where.empty() ? "" : ": ", where));
}

}  // namespace godwit::qemu
