// Compression and copy accelerators, as the kernel lists them.
#pragma once

#include <string>
#include <vector>

namespace godwit {

struct Accelerators {
  std::vector<std::string> compressors;  ///< "qat: 2 devices", "iax0", "iax1 (disabled)"
  std::vector<std::string> data_movers;  ///< "dsa0"
};

/// PCI slots of QAT devices, physical and virtual. `sys`: where sysfs is mounted.
std::vector<std::string> qat_slots(const std::string& sys);
Accelerators find_accelerators(const std::string& sys);

}  // namespace godwit
