#include "app/monitor_folder.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include "app/printable.h"

namespace godwit {

namespace {
constexpr std::size_t kLongestName = 200;
}  // namespace

Result<std::string> monitor_for(const std::string& folder, const std::string& vm_name) {
  if (vm_name.empty()) {
    return fail(ErrorKind::kRefused, "the VM has no name (QEMU's -name), and VMs are found by their names here");
  }
  const bool is_file_name = vm_name.front() != '.' && vm_name.size() <= kLongestName &&
                            vm_name.find('/') == std::string::npos && vm_name.find('\0') == std::string::npos;
  if (!is_file_name) {
    return fail(ErrorKind::kRefused,
                fmt::format("the VM's name '{}' cannot be that of a monitor's file here", printable(vm_name, 100)));
  }
  for (const std::string& path : {fmt::format("{}/{}", folder, vm_name), fmt::format("{}/{}.qmp", folder, vm_name)}) {
    struct stat status {};
    if (::stat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode)) return path;
  }
  return fail(ErrorKind::kNotFound,
              fmt::format("no QEMU waits here for a VM called '{}': {} has no monitor of that name",
                          printable(vm_name, 100), folder));
}

}  // namespace godwit
