// The file or block device behind a disk of QEMU's, opened from outside for reading: never locked, never written, and
// read past the page cache where that is possible, so that no old data stays behind in it.
#pragma once

#include "attach/remote_process.h"
#include "vm/disk.h"
#include "vmm/qemu/qmp.h"

namespace godwit::qemu {

/// As QEMU itself sees the name: in its root folder, from its working folder, or by a descriptor that it was given
/// (/dev/fdset/N). kUnsupported for what is no file ("nbd://..."), else as open(2) fails.
Result<UniqueFd> open_image(Qmp& qmp, const RemoteProcess& process, const std::string& name);

/// What it is: storage, file system, inode, names of a block device.
void identify_image(int fd, Disk& disk);

/// A piece with data in each of `parts` equal parts of the image; hashed with `disk.sample_key`, which is drawn here.
Status take_samples(int fd, std::uint64_t parts, Disk& disk);

/// Reads where `source` has samples.
SampleMatch match_samples(int fd, const Disk& source);

}  // namespace godwit::qemu
