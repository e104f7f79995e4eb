// What a VM is, as a value: both sides exchange it and compare before anything moves.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace godwit {

struct Fingerprint {
  std::string hypervisor;                           ///< "qemu"
  std::string version;                              ///< "7.2.22"
  std::string vm_name;                              ///< -name, may be empty
  std::string machine;                              ///< machine type, "pc-i440fx-7.2"
  std::string accelerator;                          ///< "kvm" or "tcg"
  std::string cpu_model;                            ///< QOM type, "qemu64-x86_64-cpu"
  std::map<std::string, std::string> cpu_features;  ///< feature word's name -> its bits in hex, "0x1f8bfbff"
  unsigned cpus = 0;

  struct Block {
    std::string name;             ///< as QEMU names it: "pc.ram"
    std::uint64_t size = 0;       ///< bytes
    std::uint64_t page_size = 0;  ///< bytes, of what backs it on this side (may differ between the sides)
    bool operator==(const Block&) const = default;
  };
  std::vector<Block> blocks;  ///< in the source's chunk numbering order

  bool operator==(const Fingerprint&) const = default;
};

/// Why a guest of `source` cannot go on at `sink`; empty if it can. Each a sentence that names both values. Compared:
/// hypervisor, machine type, accelerator, CPU model, CPU features (the sink must have every bit that the source has),
/// number of CPUs, RAM blocks by name and size (in any order). Not compared: QEMU version, name, page sizes.
std::vector<std::string> differences(const Fingerprint& source, const Fingerprint& sink);

}  // namespace godwit
