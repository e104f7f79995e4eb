// Registers of the vCPUs, as QEMU's human monitor prints them.
#pragma once

#include <vector>

#include "vmm/qemu/qmp.h"

namespace godwit::qemu {

/// CR3 of every vCPU that has paging on, now; the guest may go on meanwhile. kHypervisor if QEMU's words are not
/// understood: not one vCPU is left out for that.
///
/// Under KVM each vCPU is stopped for an instant to be asked; QEMU's main loop is busy with it for 0.1 ms and more per
/// vCPU.
Result<std::vector<std::uint64_t>> page_table_roots(Qmp& qmp);

/// The parser, for its tests.
Result<std::vector<std::uint64_t>> parse_page_table_roots(std::string_view text);

}  // namespace godwit::qemu
