// QAT's drivers show state and services in a folder `qat` beside the PCI device (Linux 6.0). IAA's queues are folders
// of the idxd driver; a process may use those of type "user" that are enabled, and only with addresses of its own
// (PASID).
#include "host/accelerator_devices.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <sstream>
#include <string_view>

#include "base/small_files.h"
#include "host/accelerators.h"

namespace godwit {

namespace {

std::string driver_of(const std::string& folder) {
  std::istringstream lines(read_small_file(folder + "/uevent").value_or(""));
  constexpr std::string_view kKey = "DRIVER=";
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(kKey)) return line.substr(kKey.size());
  }
  return {};
}

/// -1 is what the kernel says where it does not know.
std::optional<unsigned> node_of(const std::string& folder) {
  const auto node = read_number(folder + "/numa_node");
  return node && *node < 1024 ? std::optional(static_cast<unsigned>(*node)) : std::nullopt;
}

AcceleratorDevice look_at_qat(const std::string& folder, const std::string& slot) {
  AcceleratorDevice device{.name = "qat " + slot, .driver = driver_of(folder), .numa_node = node_of(folder)};
  if (device.driver.empty()) {
    device.state = "no driver";
    device.to_do = {"modprobe qat_4xxx (4th generation Xeon and later), qat_c62x or qat_dh895xcc",
                    "systemctl enable --now qat"};
    return device;
  }
  // A virtual function: qatlib's user-space driver has it.
  if (device.driver == "vfio-pci") {
    device.state = "for user space";
    return device;
  }
  const std::string state = read_small_file(folder + "/qat/state").value_or("unknown");
  const std::string services = read_small_file(folder + "/qat/cfg_services").value_or("unknown");
  device.state = fmt::format("{}, services {}", state, services);
  const bool compresses = services == "unknown" || services.find("dc") != std::string::npos;
  const std::string at = folder + "/qat";
  if (!compresses) {
    device.to_do = {fmt::format("echo down > {}/state", at), fmt::format("echo dc > {}/cfg_services", at)};
  }
  if (!compresses || state == "down") device.to_do.push_back(fmt::format("echo up > {}/state", at));
  return device;
}

AcceleratorDevice look_at_iaa(const std::string& sys, const std::string& name) {
  const std::string folder = sys + "/bus/dsa/devices/" + name;
  AcceleratorDevice device{.name = "iaa " + name, .driver = "idxd", .numa_node = node_of(folder)};
  device.shares_addresses = read_number(folder + "/pasid_enabled") == 1;
  const bool enabled = read_small_file(folder + "/state").value_or("enabled") == "enabled";
  const std::string number = name.substr(name.find_first_of("0123456789"));
  unsigned queues = 0;
  for (const std::string& queue : names_in(sys + "/bus/dsa/devices")) {
    if (!queue.starts_with("wq" + number + ".")) continue;
    const std::string at = sys + "/bus/dsa/devices/" + queue;
    if (read_small_file(at + "/state") != "enabled" || read_small_file(at + "/type") != "user") continue;
    ++queues;
    // A shared queue takes a process's requests up to its threshold only.
    const auto size = read_number(at + "/size").value_or(0);
    const auto threshold = read_number(at + "/threshold").value_or(0);
    device.queue_entries += static_cast<unsigned>(threshold > 0 && threshold < size ? threshold : size);
  }
  device.state = fmt::format("{}, {} work {} for users", enabled ? "enabled" : "disabled", queues,
                             queues == 1 ? "queue" : "queues");
  if (!device.shares_addresses) {
    device.to_do.emplace_back("boot with intel_iommu=on,sm_on: without shared addresses no process can use it");
  }
  if (queues == 0) {
    const std::string queue = fmt::format("{}/wq{}.0", name, number);
    if (enabled) device.to_do.push_back("accel-config disable-device " + name);
    device.to_do.push_back(
        fmt::format("accel-config config-wq {} --group-id=0 --mode=shared --type=user --wq-size=16 "
                    "--threshold=15 --priority=10 --block-on-fault=1 --name=godwit "
                    "--driver-name=user",
                    queue));
    device.to_do.push_back(fmt::format("accel-config config-engine {}/engine{}.0 --group-id=0", name, number));
    device.to_do.push_back("accel-config enable-device " + name);
    device.to_do.push_back("accel-config enable-wq " + queue);
  }
  return device;
}

}  // namespace

std::string AcceleratorDevice::text() const {
  std::string out = name + ": " + (driver.empty() ? "" : driver + ", ");
  if (numa_node) out += fmt::format("node {}, ", *numa_node);
  out += state;
  if (shares_addresses) out += ", shared addresses";
  return out;
}

std::vector<AcceleratorDevice> look_at_accelerators(const std::string& sys) {
  std::vector<AcceleratorDevice> found;
  for (const std::string& slot : qat_slots(sys)) {
    found.push_back(look_at_qat(sys + "/bus/pci/devices/" + slot, slot));
  }
  for (const std::string& name : names_in(sys + "/bus/dsa/devices")) {
    if (name.starts_with("iax") && name.size() > 3) found.push_back(look_at_iaa(sys, name));
  }
  return found;
}

}  // namespace godwit
