// What the VM is, from QEMU's monitor: machine, CPU, accelerator, name, identity, topology, memory blocks and devices.
// RAM blocks are filled in elsewhere.
#pragma once

#include "vm/fingerprint.h"
#include "vmm/qemu/qmp.h"

namespace godwit::qemu {

Result<Fingerprint> read_fingerprint(Qmp& qmp);

}  // namespace godwit::qemu
