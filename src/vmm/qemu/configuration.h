// What a VM consists of, as far as its QEMU tells: a value that is taken when a move begins, and compared with another
// one taken just before the guest is handed over. What was looked at in the beginning must still hold then: the
// destination's QEMU was started for it, and the dirty tracker was chosen for it.
//
// Only what an operator changes is in here, nothing that a guest changes by itself (positions of PCI windows, MAC
// addresses, trays, the length of a growing image): a guest that goes about its work changes no Configuration.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "vmm/qemu/qmp.h"

namespace godwit::qemu {

/// A drive of the guest and what is in it.
struct Drive {
  std::vector<std::string> images;  ///< file names, from the one that is written down to the base; empty: no medium
  std::string node;                 ///< the block node that the guest's device uses
  std::uint64_t size = 0;           ///< that the guest sees, bytes
  bool removable = false;           ///< a floppy or CD drive
  bool read_only = false;
  bool direct = false;  ///< past the page cache (cache.direct=on)
  bool operator==(const Drive&) const = default;
};

/// Names, each with what it is.
using Parts = std::map<std::string, std::string>;

/// What QEMU tells in about a millisecond.
struct Plugged {
  std::map<std::string, Drive> disks;
  Parts devices;  ///< of the command line and plugged since: QOM type
};

/// What QEMU tells in some milliseconds.
struct Configuration {
  Plugged plugged;
  Parts built_in;                                   ///< devices of the machine itself: QOM type
  Parts nodes;                                      ///< block nodes: driver and file
  Parts networks;                                   ///< type
  Parts cpus;                                       ///< QOM path
  std::map<std::string, std::uint64_t> ram_blocks;  ///< all of them, with their lengths in use, bytes
  std::map<std::string, std::uint64_t> ram_limits;  ///< the lengths that they may have
};

Result<Plugged> read_plugged(Qmp& qmp);
Result<Configuration> read_configuration(Qmp& qmp);

/// What has changed, a phrase for each: "disk 'd0' has been given a snapshot: it was on a.raw, it is on b.qcow2".
std::vector<std::string> find_changes(const Plugged& before, const Plugged& now);
/// All but block nodes. Lengths of RAM blocks are not compared: those of firmware tables change with the guest.
std::vector<std::string> find_changes(const Configuration& before, const Configuration& now);
/// Block nodes come and go with disks and jobs: worth asking where nothing else has changed.
std::vector<std::string> find_node_changes(const Configuration& before, const Configuration& now);

}  // namespace godwit::qemu
