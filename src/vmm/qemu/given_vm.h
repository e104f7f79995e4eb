// A VM that was given to another host, for the memory that only this QEMU has: it is read, and nothing else is done.
#pragma once

#include <memory>

#include "vmm/hypervisor.h"
#include "vmm/qemu/life_watch.h"
#include "vmm/qemu/qemu_vm.h"

namespace godwit::qemu {

/// Both outlive it. `vm` has its memory: main memory, and behind it the other blocks if `way` is kDirect. It never lets
/// the guest run; pause() is for a guest that somebody else lets run, as `life` has seen.
std::unique_ptr<SourceVm> make_given_vm(QemuVm& vm, const LifeWatch& life, DeviceWay way);

}  // namespace godwit::qemu
