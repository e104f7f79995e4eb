// Which parts of QEMU's address space are the guest's main memory, from what QEMU itself says.
//
//   query-memdev     "pc.ram"                          the backends of main memory
//   info ramblock    "pc.ram", 4 KiB, 0x4000000        their names in the migration stream, page sizes, lengths
//   info mtree -f    0x100000.. is pc.ram @0x100000    where the guest sees them
//   gpa2hva          0x100000 is 0x7f10a3f00000        so the block begins at 0x7f10a3e00000
//   /proc/PID/maps   0x7f10a3e00000-..., private       and this is how it can be reached
//
// Nothing is guessed: what these five do not agree on is an error. The parsers are here for their tests.
#pragma once

#include <optional>

#include "vmm/qemu/inspection.h"

namespace godwit::qemu {

/// A line of "info ramblock".
struct RamBlockLine {
  std::string name;
  std::uint64_t page_size = 0;
  std::uint64_t offset = 0;  ///< of QEMU's own numbering of all blocks
  std::uint64_t size = 0;    ///< used length, bytes
  std::uint64_t most = 0;    ///< the length to which it may grow
  std::optional<std::uint64_t> host_address;
};
std::vector<RamBlockLine> parse_ram_blocks(std::string_view text);

/// All stretches of RAM in the flat view of address space "memory" in "info mtree -f"; `block` is the region's name.
std::vector<PhysicalStretch> parse_flat_view(std::string_view text);

struct HostAddress {
  std::string region;
  std::uint64_t address = 0;
};
/// What "gpa2hva" says; nothing where no RAM is.
std::optional<HostAddress> parse_host_address(std::string_view text);

/// How the mappings cover [address, address + size): kNotFound if not wholly, kUnsupported if not all in one way.
struct Cover {
  Backing backing = Backing::kPrivate;
  Mapping first;
};
Result<Cover> cover(const std::vector<Mapping>& mappings, std::uint64_t address, std::uint64_t size);

struct Ram {
  std::vector<BlockInfo> blocks;          ///< by guest-physical address
  std::vector<PhysicalStretch> physical;  ///< of those blocks, by address
  std::vector<std::string> unplaced;      ///< backends in use that the guest does not see as main memory
};
Result<Ram> find_ram(Qmp& qmp, const RemoteProcess& process);

/// The RAM blocks that QEMU migrates besides those of `ram`. QEMU before 8.0 does not tell where they lie: there its
/// own list of them is looked for (ram_block_list.h).
Result<OtherBlocks> find_other_blocks(Qmp& qmp, const RemoteProcess& process, const Ram& ram);

}  // namespace godwit::qemu
