// Whether a note belongs to the kernel that runs in the guest now.
#pragma once

#include <cstdint>
#include <span>

#include "linux_guest/guest_page_table.h"
#include "linux_guest/vmcoreinfo.h"

namespace godwit::linux_guest {

GuestPageTable::Root root_of(const Vmcoreinfo& info) noexcept;

/// Whether memory holds the kernel that the note tells of: its page table maps itself where it should lie, and its own
/// name and release are there. Notes of kernels that ran before a reset often pass too.
Status check_kernel(const Vmcoreinfo& info, const GuestPhysical& physical);

/// Whether all of the guest's vCPUs use that kernel's page tables: seen through each of `roots` (CR3; with page-table
/// isolation also the kernel's half of the pair), the root symbol must lie where the note says. In firmware, another
/// kernel or a crash kernel at least one of them does not. Nor does a vCPU that runs a guest of the guest: then nothing
/// is known, because the hypervisor tells of no other page table.
Status check_live(const Vmcoreinfo& info, const GuestPhysical& physical, std::span<const std::uint64_t> roots);

}  // namespace godwit::linux_guest
