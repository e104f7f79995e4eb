// The file or block device behind a disk of QEMU's: where it is to be found, and what it is. It is looked at from
// outside for reading (image_look.h): never locked, never written.
#pragma once

#include <string_view>

#include "vm/disk.h"
#include "vmm/qemu/image_look.h"
#include "vmm/qemu/qmp.h"

namespace godwit::qemu {

/// Where this process finds what QEMU calls so: in QEMU's root folder, from its working folder, or by a descriptor that
/// it was given (/dev/fdset/N). kUnsupported for what is not a file ("nbd://...").
Result<std::string> path_of_image(Qmp& qmp, const RemoteProcess& process, const std::string& name);

/// What it is: storage, file system, inode, names of a block device.
void identify_image(const RemoteProcess& process, const ImageAnswer& found, Disk& disk);

/// Whether the mount with this device number says that its server numbers the files; `mountinfo` as in /proc.
bool server_numbers_files(std::string_view mountinfo, std::uint64_t device);

}  // namespace godwit::qemu
