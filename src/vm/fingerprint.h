// What a VM is, as a value: both sides exchange it and compare before anything moves.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "vm/device.h"
#include "vm/disk.h"

namespace godwit {

struct Fingerprint {
  std::string hypervisor;                           ///< "qemu"
  std::string version;                              ///< "7.2.22"
  std::string vm_name;                              ///< -name, may be empty
  std::string uuid;                                 ///< -uuid, empty if none was given
  std::string machine;                              ///< machine type, "pc-i440fx-7.2"
  std::string machine_alias;                        ///< what else this version calls it: "pc"; may be empty
  std::string accelerator;                          ///< "kvm" or "tcg"
  std::string cpu_model;                            ///< QOM type, "qemu64-x86_64-cpu"
  std::map<std::string, std::string> cpu_features;  ///< feature word's name -> its bits in hex, "0x1f8bfbff"
  unsigned cpus = 0;
  unsigned physical_bits = 0;  ///< of a CPU's physical addresses; 0: unknown

  /// The rest may be empty where a side cannot tell; then it is not compared.
  std::map<std::string, std::uint32_t> topology;          ///< "maxcpus", "sockets", "cores", "threads", ...
  std::vector<std::string> cpu_places;                    ///< of the CPUs that are there: "socket-id 0 core-id 1 ..."
  std::map<std::string, std::string> machine_properties;  ///< "max-ram-below-4g", "vmport"

  struct Block {
    std::string name;             ///< as QEMU names it: "pc.ram"
    std::uint64_t size = 0;       ///< bytes
    std::uint64_t page_size = 0;  ///< bytes, of what backs it on this side (may differ between the sides)
    bool operator==(const Block&) const = default;
  };
  std::vector<Block> blocks;  ///< main memory, in the source's chunk numbering order

  /// Any memory block of the hypervisor: main memory too, ROMs, video memory, flash.
  struct Memory {
    std::string name;        ///< "0000:00:02.0/vga.vram"
    std::uint64_t size = 0;  ///< bytes
    std::uint64_t most = 0;  ///< it may grow to this
    bool operator==(const Memory&) const = default;
  };
  std::vector<Memory> memory;
  std::vector<Device> devices;
  std::vector<Disk> disks;
  std::string boot_id;  ///< of the host's kernel: equal on both sides if it is one host

  bool operator==(const Fingerprint&) const = default;
};

/// Why a guest of `source` cannot go on at `sink`; empty if it can. Each a sentence that names both values. Compared:
/// hypervisor, machine type, accelerator, CPU model, CPU features (the sink must have every bit that the source has),
/// number of CPUs, where they sit and how many there may be, width of physical addresses (the sink must have as many
/// bits), properties of the machine,
/// all memory blocks by name and size (in any order), devices. Not compared: QEMU version, page sizes, and what one
/// side does not know. Name, uuid and disks are other questions: see vm/fit.h.
std::vector<std::string> differences(const Fingerprint& source, const Fingerprint& sink);

}  // namespace godwit
