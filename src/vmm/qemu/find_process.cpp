// Which process is QEMU, when all that is known is its monitor.
//
//   the socket's peer (SO_PEERCRED)      whoever listened on it first: QEMU, or the manager that opened it for QEMU
//   the process that a descriptor,
//   lent through the monitor, turns up in   surely QEMU; not where a program is between that passes bytes only
//   the only process that maps memory
//   where QEMU says that guest RAM is    if there is but one
//
// In every case the process must map the guest's RAM where QEMU says it lies.
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "attach/proc_files.h"
#include "vmm/qemu/inspection.h"
#include "vmm/qemu/ram_blocks.h"

namespace godwit::qemu {
namespace {

/// The process `pid`, if it is QEMU. kNotFound says why it is not.
Result<RemoteProcess> check_is_qemu(Qmp& qmp, pid_t pid) {
  RemoteProcess process = TRY_IN(fmt::format("process {}", pid), RemoteProcess::open(pid));
  TRY(find_ram(qmp, process));
  return process;
}

/// A guest-physical address that is RAM in every PC; below it lies firmware, and video memory.
constexpr std::uint64_t kSecondMebibyte = 0x100000;

std::vector<pid_t> those_mapping(std::uint64_t address, const std::vector<pid_t>& processes) {
  std::vector<pid_t> found;
  for (const pid_t pid : processes) {
    const auto mappings = read_mappings(fmt::format("/proc/{}/maps", pid));
    if (!mappings) continue;  // has ended, or is not ours to look into
    if (cover(*mappings, address, 1)) found.push_back(pid);
  }
  return found;
}

/// The process in which a descriptor turns up that the monitor is given.
std::optional<pid_t> the_one_having_what_is_lent(Qmp& qmp, const std::vector<pid_t>& processes) {
  const UniqueFd token(::memfd_create("godwit-token", MFD_CLOEXEC));
  constexpr const char* kName = "godwit-token";
  if (!token || !qmp.give_descriptor(kName, token.get())) return std::nullopt;
  std::optional<pid_t> found;
  for (const pid_t pid : processes) {
    const auto process = RemoteProcess::open(pid);
    if (!process || !process->find_descriptor(token.get())) continue;
    found = pid;
    break;
  }
  (void)qmp.execute("closefd", Json{{"fdname", kName}});
  return found;
}

std::string peer_in_words(pid_t peer) {
  if (peer == 0) return "its socket's peer is a process in another PID namespace";
  return fmt::format("its socket belongs to {}, which is not QEMU", name_of_process(peer));
}

Result<RemoteProcess> search(Qmp& qmp, pid_t peer) {
  auto processes = TRY(list_processes());
  std::erase(processes, ::getpid());
  if (const auto pid = the_one_having_what_is_lent(qmp, processes)) return check_is_qemu(qmp, *pid);
  const auto place = parse_host_address(TRY(qmp.human(fmt::format("gpa2hva {:#x}", kSecondMebibyte))));
  std::vector<pid_t> fit;
  if (place) {
    for (const pid_t pid : those_mapping(place->address, processes)) {
      if (check_is_qemu(qmp, pid)) fit.push_back(pid);
    }
  }
  if (fit.size() == 1) return check_is_qemu(qmp, fit.front());
  return fail(ErrorKind::kNotFound,
              fmt::format("which process is the QEMU behind this monitor is unknown: {}, and {} here "
                          "maps the guest's RAM; name QEMU's process with --pid",
                          peer_in_words(peer), fit.empty() ? "no process" : "more than one process"));
}

}  // namespace

Result<RemoteProcess> find_process(Qmp& qmp, pid_t pid_override) {
  const pid_t pid = pid_override != 0 ? pid_override : qmp.peer_pid();
  if (pid == 0) return search(qmp, pid);
  auto process = check_is_qemu(qmp, pid);
  if (process || process.error().kind != ErrorKind::kNotFound) {
    // A manager of another user may be closed to us where its QEMU is not.
    const bool may_search = !process && pid_override == 0 && process.error().kind == ErrorKind::kNoPermission;
    if (!may_search) return process;
    auto found = search(qmp, pid);
    return found ? std::move(found) : std::move(process);
  }
  if (pid_override == 0) return search(qmp, pid);
  return fail(ErrorKind::kNotFound,
              fmt::format("process {} is not the QEMU behind this monitor: {}", pid, process.error().message));
}

}  // namespace godwit::qemu
