// What can be learnt about a QEMU through its monitor and /proc: its RAM, its disks, and what is in the way.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "attach/remote_process.h"
#include "memory/guest_memory.h"
#include "vm/fingerprint.h"
#include "vmm/qemu/configuration.h"
#include "vmm/qemu/qmp.h"

namespace godwit::qemu {

/// How the engine reaches a RAM block.
enum class Backing {
  kFile,     ///< a shared mapping of a file on tmpfs, hugetlbfs or a disk
  kMemfd,    ///< a shared mapping of a memfd
  kPrivate,  ///< anonymous or privately mapped: process_vm_readv/writev
};
std::string_view name_of(Backing backing) noexcept;

struct BlockInfo {
  std::string name;
  std::uint64_t size = 0;       ///< bytes
  std::uint64_t page_size = 0;  ///< bytes
  std::uint64_t address = 0;    ///< in QEMU's address space
  Backing backing = Backing::kPrivate;
  Mapping mapping;  ///< the first line of /proc/PID/maps that covers it
};

/// A stretch of guest-physical addresses that is RAM of a block.
struct PhysicalStretch {
  std::uint64_t address = 0;
  std::uint64_t length = 0;
  std::string block;
  std::uint64_t offset = 0;
};

/// A disk that QEMU reads past the page cache (cache.direct=on), so that data lands without a page fault.
struct DirectDisk {
  std::string device;           ///< "virtio0", "ide0-hd0"
  std::string controller_path;  ///< QOM path of the virtio device; empty where it is not virtio
  bool readable_rings = false;  ///< a split-ring virtio disk without vIOMMU: requests in flight can be read
};

/// Something that keeps this VM from being moved, by name.
struct Obstacle {
  std::string what;  ///< "vfio-pci device 'hostdev0'"
  std::string why;   ///< "its DMA writes memory that no page table sees"
};

/// RAM besides main memory: ROMs, video memory, firmware tables, flash.
struct OtherBlocks {
  std::vector<BlockInfo> blocks;       ///< in QEMU's order; of some use only if all could be located
  std::optional<std::string> missing;  ///< which could not be, and why, as a phrase
};

struct Inspection {
  Fingerprint fingerprint;       ///< blocks in the order of `blocks`
  std::string status;            ///< query-status: "running", "paused", "inmigrate", "postmigrate", ...
  std::string migration_status;  ///< query-migrate: "none", "active", "pre-switchover", "completed", ...
  std::string uuid;
  std::vector<BlockInfo> blocks;  ///< main memory only: what the lanes move; by guest-physical address
  OtherBlocks other;
  std::vector<PhysicalStretch> physical;
  std::vector<DirectDisk> direct_disks;
  bool allow_nested = false;  ///< the operator says that no VM runs inside the guest until the move is over
  /// How often vCPUs had entered VMs inside the guest, where it could run some: to be looked at again.
  std::optional<std::uint64_t> nested_entries;
  bool gives_memory_back = false;   ///< a balloon: the guest may punch holes into its RAM at any time
  std::vector<Obstacle> obstacles;  ///< empty: can be moved
  Configuration configuration;      ///< to be compared with what is there before the hand-over
};

/// Looks at the VM behind `qmp`. Changes nothing. `process` is QEMU's.
Result<Inspection> inspect(Qmp& qmp, const RemoteProcess& process);

/// The process behind a monitor: `pid_override` if not 0, else the peer of the socket, else (a manager has opened it,
/// or the peer's number means nothing here) the process that is found to be QEMU. Checked to be QEMU: it maps guest RAM
/// at the address that QEMU gives for it.
Result<RemoteProcess> find_process(Qmp& qmp, pid_t pid_override);

/// RAM of the VM, reached as each block's backing allows. `blocks` in chunk numbering order (the source's order on both
/// sides).
Result<std::unique_ptr<GuestMemory>> open_memory(const RemoteProcess& process, const std::vector<BlockInfo>& blocks);

}  // namespace godwit::qemu
