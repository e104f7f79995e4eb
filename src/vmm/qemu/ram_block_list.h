// Where QEMU before 8.0 has its RAM blocks. It names them without their addresses, so its own list of them is walked,
// in its memory, from a block whose address is known:
//
//   info ramblock    name, offset, used length, greatest length of each block
//   gpa2hva          the address of main memory
//   [heap]           the one place that has all of that side by side as in QEMU's RAMBlock
//   next, previous   from there all the others, and the list's head outside of the heap
//
// QEMU promises nothing about its memory: the list is believed only if it has all of the blocks that QEMU names and no
// others, each with what QEMU says of it. Seen so in QEMU 7.2 and 10.0; another layout is not found, and nothing worse.
#pragma once

#include <functional>
#include <map>
#include <string>

#include "attach/remote_process.h"
#include "base/bytes.h"
#include "vmm/qemu/ram_blocks.h"

namespace godwit::qemu {

/// Exactly out.size() bytes of QEMU's memory.
using ReadMemory = std::function<Status(std::uint64_t address, MutableBytes out)>;

/// The addresses of all blocks of `lines` that have a length, by name. `known` is the address of the one named
/// `anchor`. kNotFound if QEMU's memory does not agree with its words, with why.
Result<std::map<std::string, std::uint64_t>> find_block_list(const ReadMemory& read,
                                                             const std::vector<Mapping>& mappings,
                                                             const std::vector<RamBlockLine>& lines,
                                                             const std::string& anchor, std::uint64_t known);

}  // namespace godwit::qemu
