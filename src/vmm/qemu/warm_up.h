// Page tables of a guest that has just arrived.
#pragma once

#include <cstdint>

#include "attach/remote_process.h"
#include "memory/page.h"

namespace godwit::qemu {

/// Has the process map pages of its RAM's file that somebody else filled: else the guest pays a page fault for each at
/// its first touch, and the next migration must ask the file about each, because a page that is not mapped may have
/// been given back. `address`: of a chunk, in the process. Best effort; touches none but these pages.
void warm_up(const RemoteProcess& process, std::uint64_t address, PageWord pages) noexcept;

}  // namespace godwit::qemu
