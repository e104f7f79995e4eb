// What the machine is beyond its CPU model: its identity, its topology, all of its memory blocks and devices.
#pragma once

#include "vm/fingerprint.h"
#include "vmm/qemu/qmp.h"

namespace godwit::qemu {

/// Fills in all that differs from machine to machine of one type. `cpu` is the QOM path of one of its CPUs. What this
/// version of QEMU does not tell stays empty.
Status read_machine(Qmp& qmp, const std::string& cpu, Fingerprint& vm);

}  // namespace godwit::qemu
