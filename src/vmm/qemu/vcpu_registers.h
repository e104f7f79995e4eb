// Registers of the vCPUs, as QEMU's human monitor prints them.
#pragma once

#include <vector>

#include "vmm/qemu/qmp.h"

namespace godwit::qemu {

/// CR3 of every vCPU that has paging on, now; the guest may go on meanwhile. kHypervisor if QEMU's words are not
/// understood: not one vCPU is left out for that.
///
/// Takes 0.3 ms and, under KVM, where each vCPU is stopped for an instant to be asked, 0.2 ms more per vCPU; longer on
/// a busy host. QEMU's main loop is busy meanwhile.
Result<std::vector<std::uint64_t>> page_table_roots(Qmp& qmp);

/// Whether a vCPU has CR4.VMXE set: the guest runs VMs of its own by Intel's VMX, or may at any moment. As above.
Result<bool> uses_vmx(Qmp& qmp);

/// The parsers, for their tests.
Result<std::vector<std::uint64_t>> parse_page_table_roots(std::string_view text);
Result<bool> parse_uses_vmx(std::string_view text);

}  // namespace godwit::qemu
