// Each device that compresses, as the kernel shows it, and what an operator has to do so that Godwit can use it.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace godwit {

struct AcceleratorDevice {
  std::string name;    ///< "qat 0000:6b:00.0", "iaa iax1"
  std::string driver;  ///< "qat_4xxx", "vfio-pci", "idxd"; empty: none
  std::optional<unsigned> numa_node;
  std::string state;               ///< a phrase: "up, services dc", "enabled, 1 of 2 work queues for users"
  unsigned queue_entries = 0;      ///< of work queues that a process may use: requests that they hold
  bool shares_addresses = false;   ///< reads memory by a process's own addresses (SVM)
  std::vector<std::string> to_do;  ///< commands and phrases, in order; none: it can be used

  /// "iaa iax1: idxd, node 1, enabled, 1 work queue for users, shared addresses"
  std::string text() const;
};

/// `sys`: where sysfs is mounted.
std::vector<AcceleratorDevice> look_at_accelerators(const std::string& sys);

}  // namespace godwit
