// A folder with the monitors of many QEMUs, by their VMs' names.
#pragma once

#include <string>

#include "base/result.h"

namespace godwit {

/// The monitor's path for a VM whose name a peer gives: FOLDER/NAME, or FOLDER/NAME.qmp. kRefused if the name cannot be
/// a file's; kNotFound if there is no such file.
Result<std::string> monitor_for(const std::string& folder, const std::string& vm_name);

}  // namespace godwit
