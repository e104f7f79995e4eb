// What this host can do, read once into one value.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "host/accelerator_devices.h"

namespace godwit {

struct HostProfile {
  std::string kernel_release;  ///< "6.18.44"
  unsigned kernel_major = 0;
  unsigned kernel_minor = 0;
  std::string cpu_model;
  unsigned cpus = 1;  ///< that this process may run on
  unsigned numa_nodes = 1;
  std::uint64_t memory_bytes = 0;  ///< of the host

  bool avx2 = false;
  bool avx512 = false;  ///< F, BW, VL and DQ, and the system saves their state

  bool kvm = false;                 ///< /dev/kvm can be opened
  bool pagemap_scan = false;        ///< PAGEMAP_SCAN (Linux 6.7)
  bool uffd_wp_async = false;       ///< userfaultfd WP_ASYNC, WP_UNPOPULATED, WP_HUGETLBFS_SHMEM (Linux 6.7)
  bool uffd_kernel_faults = false;  ///< userfaultfd without USER_MODE_ONLY is allowed (needed for post-copy)
  bool process_vm = false;          ///< process_vm_readv
  bool pidfd_getfd = false;
  std::string lsm_ptrace_scope;  ///< yama's ptrace_scope, "none" where yama is not there

  std::uint64_t hugetlb_2m_total = 0;  ///< huge pages of 2 MiB on this host
  std::uint64_t hugetlb_2m_free = 0;

  std::vector<std::string> accelerators;  ///< what could compress for us: "qat: 2 devices", "iax0"; empty if none
  std::vector<AcceleratorDevice> accelerator_devices;  ///< each of them
  std::vector<std::string> data_movers;                ///< what could copy for us (Intel DSA): "dsa0"
};

/// Where it looks; tests point it at a made-up tree.
struct HostPaths {
  std::string proc = "/proc";
  std::string sys = "/sys";
  std::string dev = "/dev";
};

/// Looks at this host. Never fails: what cannot be found out counts as absent. Takes some milliseconds. The
/// environment variable GODWIT_PRETEND_KERNEL ("5.10") makes it answer as on an older kernel, for tests.
HostProfile probe_host(const HostPaths& paths = {});

}  // namespace godwit
