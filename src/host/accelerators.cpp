// QAT devices are found by their PCI ids, IAA and DSA devices by the idxd driver's folder. That a device is listed does
// not mean that it can be used: a queue must be set up and this user may need rights. So this tells an operator what
// there is; a codec finds out for itself whether it works.
#include "host/accelerators.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>

#include "base/small_files.h"

namespace godwit {

namespace {

constexpr std::uint64_t kIntel = 0x8086;

// PCI device ids of Intel QuickAssist, physical and virtual functions.
constexpr std::array<std::uint64_t, 20> kQatIds{
    0x0435, 0x0443,  // DH895xCC
    0x37c8, 0x37c9,  // C62x
    0x19e2, 0x19e3,  // C3xxx
    0x6f54, 0x6f55,  // D15xx
    0x18a0, 0x18a1,  // 200xx
    0x4940, 0x4941,  // 4xxx
    0x4942, 0x4943,  // 401xx
    0x4944, 0x4945,  // 402xx
    0x4946, 0x4947,  // 420xx
    0x4948, 0x4949,  // 6xxx
};

/// "qat: 2 devices", "qat: 3 devices, 1 without a driver", or nothing.
std::string find_qat(const std::string& sys) {
  const std::string folder = sys + "/bus/pci/devices/";
  unsigned devices = 0;
  unsigned unbound = 0;
  for (const std::string& name : qat_slots(sys)) {
    ++devices;
    std::error_code ignored;
    if (!std::filesystem::exists(folder + name + "/driver", ignored)) ++unbound;
  }
  if (devices == 0) return {};
  std::string text = fmt::format("qat: {} {}", devices, devices == 1 ? "device" : "devices");
  if (unbound > 0) text += fmt::format(", {} without a driver", unbound);
  return text;
}

}  // namespace

std::vector<std::string> qat_slots(const std::string& sys) {
  const std::string folder = sys + "/bus/pci/devices/";
  std::vector<std::string> slots;
  for (const std::string& name : names_in(folder)) {
    if (read_number(folder + name + "/vendor") != kIntel) continue;
    const auto id = read_number(folder + name + "/device");
    if (id && std::find(kQatIds.begin(), kQatIds.end(), *id) != kQatIds.end()) slots.push_back(name);
  }
  return slots;
}

Accelerators find_accelerators(const std::string& sys) {
  Accelerators found;
  if (const std::string qat = find_qat(sys); !qat.empty()) found.compressors.push_back(qat);
  // Work queues ("wq0.0") and groups are in the same folder.
  const std::string folder = sys + "/bus/dsa/devices/";
  for (const std::string& name : names_in(folder)) {
    const bool compresses = name.starts_with("iax");
    if (!compresses && !name.starts_with("dsa")) continue;
    const bool enabled = read_small_file(folder + name + "/state").value_or("enabled") == "enabled";
    (compresses ? found.compressors : found.data_movers).push_back(enabled ? name : name + " (disabled)");
  }
  return found;
}

}  // namespace godwit
