// A file in memory that QEMU writes its devices into: ours to read, lent to QEMU under a name that it can open.
#pragma once

#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "vmm/qemu/qmp.h"

namespace godwit::qemu {

class DeviceFile {
 public:
  /// Lends it to QEMU at once. `qmp` outlives it.
  static Result<DeviceFile> lend(Qmp& qmp);
  DeviceFile(DeviceFile&&) = default;
  DeviceFile& operator=(DeviceFile&&) = default;

  /// What QEMU calls it: "/dev/fdset/3".
  const std::string& name() const noexcept { return name_; }
  /// All that has been written.
  Result<std::vector<std::byte>> read() const;
  /// QEMU closes it. It would do so too when our monitor connection ends.
  void take_back() noexcept;

 private:
  DeviceFile(Qmp& qmp, UniqueFd file) : qmp_(&qmp), file_(std::move(file)) {}

  Qmp* qmp_;
  UniqueFd file_;
  std::string name_;
  std::uint64_t set_ = 0;
};

/// Takes back those that engines which have died left in QEMU: it keeps them as long as anybody is at a monitor of its.
void take_back_left_files(Qmp& qmp) noexcept;

/// Has QEMU write its devices into a file that was lent to it, and reads them. The guest is paused. `give_up_disks`: as
/// after a migration, until `cont`; else nothing changes.
Result<std::vector<std::byte>> save_devices(Qmp& qmp, const DeviceFile& file, bool give_up_disks);

}  // namespace godwit::qemu
