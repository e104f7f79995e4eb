// Puts together what is found out. Each part is in a file of its own: cpu, kernel, accelerators.
#include "host/host_profile.h"

#include <fcntl.h>
#include <sys/utsname.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "base/small_files.h"
#include "base/unique_fd.h"
#include "base/units.h"
#include "host/accelerators.h"
#include "host/cpu.h"
#include "host/kernel.h"

namespace godwit {

namespace {

std::string kernel_release(const HostPaths& paths) {
  if (auto text = read_small_file(paths.proc + "/sys/kernel/osrelease")) return *text;
  utsname names{};
  return ::uname(&names) == 0 ? names.release : "";
}

void fill_kernel(const HostPaths& paths, HostProfile& profile) {
  profile.kernel_release = kernel_release(paths);
  KernelFeatures features = probe_kernel(paths.proc, paths.dev);
  if (const char* pretended = std::getenv("GODWIT_PRETEND_KERNEL")) {
    // A text that is not a release counts as 0.0, where nothing is supported: a typing slip shows at once.
    profile.kernel_release = pretended;
    features = as_on(parse_kernel_release(pretended).value_or(KernelVersion{}), features);
  }
  const auto version = parse_kernel_release(profile.kernel_release).value_or(KernelVersion{});
  profile.kernel_major = version.major;
  profile.kernel_minor = version.minor;
  profile.pagemap_scan = features.pagemap_scan;
  profile.uffd_wp_async = features.uffd_wp_async;
  profile.uffd_kernel_faults = features.uffd_kernel_faults;
  profile.process_vm = features.process_vm;
  profile.pidfd_getfd = features.pidfd_getfd;
  profile.lsm_ptrace_scope = read_small_file(paths.proc + "/sys/kernel/yama/ptrace_scope").value_or("none");
  profile.kvm = static_cast<bool>(UniqueFd(::open((paths.dev + "/kvm").c_str(), O_RDWR | O_CLOEXEC)));
}

/// "MemTotal:  16384 kB" in bytes.
std::uint64_t total_memory(const std::string& meminfo) {
  const auto text = value_of_line(meminfo, "MemTotal");
  std::uint64_t kibibytes = 0;
  if (text) std::from_chars(text->data(), text->data() + text->size(), kibibytes);
  return kibibytes * kKiB;
}

void fill_machine(const HostPaths& paths, HostProfile& profile) {
  profile.cpu_model = value_of_line(read_small_file(paths.proc + "/cpuinfo").value_or(""), "model name").value_or("");
  profile.cpus = usable_cpus();
  const auto nodes = count_of_list(read_small_file(paths.sys + "/devices/system/node/online").value_or(""));
  profile.numa_nodes = std::max(nodes, 1U);
  profile.memory_bytes = total_memory(read_small_file(paths.proc + "/meminfo").value_or(""));
  const std::string huge = paths.sys + "/kernel/mm/hugepages/hugepages-2048kB/";
  profile.hugetlb_2m_total = read_number(huge + "nr_hugepages").value_or(0);
  profile.hugetlb_2m_free = read_number(huge + "free_hugepages").value_or(0);
}

}  // namespace

HostProfile probe_host(const HostPaths& paths) {
  HostProfile profile;
  fill_kernel(paths, profile);
  fill_machine(paths, profile);
  const InstructionSets sets = instruction_sets(read_cpuid());
  profile.avx2 = sets.avx2;
  profile.avx512 = sets.avx512;
  Accelerators accelerators = find_accelerators(paths.sys);
  profile.accelerators = std::move(accelerators.compressors);
  profile.accelerator_devices = look_at_accelerators(paths.sys);
  profile.data_movers = std::move(accelerators.data_movers);
  return profile;
}

}  // namespace godwit
