#include "vmm/qemu/vcpu_time.h"

#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <nlohmann/json.hpp>

#include "base/small_files.h"
#include "vmm/qemu/json_access.h"

namespace godwit::qemu {

Result<std::vector<pid_t>> vcpu_threads(Qmp& qmp) {
  std::vector<pid_t> threads;
  const Json cpus = TRY(query_array(qmp, "query-cpus-fast"));
  for (const Json& cpu : cpus) threads.push_back(static_cast<pid_t>(number_at(cpu, "thread-id")));
  if (threads.empty()) return fail(ErrorKind::kHypervisor, "QEMU names no vCPUs");
  return threads;
}

std::vector<pid_t> vcpu_threads_here(Qmp& qmp, const RemoteProcess& process) {
  auto threads = vcpu_threads(qmp).value_or(std::vector<pid_t>());
  std::erase_if(threads, [&](pid_t thread) {
    return ::access(fmt::format("/proc/{}/task/{}", process.pid(), thread).c_str(), F_OK) != 0;
  });
  return threads;
}

Result<std::uint64_t> vcpu_run_time(const RemoteProcess& process, const std::vector<pid_t>& threads) {
  std::uint64_t total = 0;
  for (const pid_t thread : threads) {
    // KERNEL: the first number is the thread's time on a CPU; 0 where the kernel keeps none (CONFIG_SCHED_INFO).
    const auto text = read_small_file(fmt::format("/proc/{}/task/{}/schedstat", process.pid(), thread)).value_or("");
    std::uint64_t ran = 0;
    std::from_chars(text.data(), text.data() + text.size(), ran);
    if (ran == 0) return fail(ErrorKind::kUnsupported, "this kernel does not tell how long the vCPUs have run");
    total += ran;
  }
  return total;
}

}  // namespace godwit::qemu
