// QEMU's devices and their properties, as "info qtree" lists them: one command for all of them, the board's own too.
//
//   bus: main-system-bus
//     type System
//     dev: i440FX-pcihost, id ""
//       bus: pci.0
//         type PCI
//         dev: virtio-blk-pci, id "vb"
//           addr = 03.0
//           bus: virtio-bus
//             dev: virtio-blk-device, id ""
//               drive = "d0"
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "vm/device.h"
#include "vmm/qemu/qmp.h"

namespace godwit::qemu {

/// One device of the tree, with every property that QEMU prints; texts without their quotes, numbers without what
/// is behind them in brackets.
struct TreeDevice {
  std::string type;
  std::string id;
  std::string bus;                    ///< its bus's name, "pci.0"
  std::string bus_type;               ///< "PCI"
  std::optional<std::size_t> parent;  ///< whose bus it is on; none on the system's
  std::map<std::string, std::string> properties;
  std::string place;  ///< as Device::place; a virtio device behind a PCI function has that function's
};

/// All of them, parents first. What does not look as expected is passed over.
std::vector<TreeDevice> parse_device_tree(std::string_view text);

/// Which of a tree's properties the guest sees, or shape the stream; with a virtio device's own in its PCI function.
std::vector<Device> comparable_devices(const std::vector<TreeDevice>& tree);

/// Devices that sit on no bus ("vmgenid"), which the tree lacks, from /machine/peripheral and /machine/peripheral-anon.
Result<std::vector<Device>> devices_without_bus(Qmp& qmp, const std::vector<TreeDevice>& tree);

}  // namespace godwit::qemu
