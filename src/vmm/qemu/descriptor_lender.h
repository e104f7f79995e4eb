// Lends QEMU a descriptor of ours through its monitor.
#pragma once

#include <memory>

#include "attach/remote_userfaultfd.h"
#include "vmm/qemu/qmp.h"

namespace godwit::qemu {

/// Both arguments outlive it. If this process dies while something is lent, QEMU keeps the descriptor under its name
/// until the next one takes it.
std::unique_ptr<DescriptorLender> make_descriptor_lender(Qmp& qmp, const RemoteProcess& process);

}  // namespace godwit::qemu
