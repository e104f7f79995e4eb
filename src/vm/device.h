// A device of a VM as a value, and how a device of the source may differ from the sink's.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace godwit {

struct Device {
  /// Where it sits, as the guest sees it: "PCI 04.0", "PCI 06.0 / SCSI 0:0:1", "hpet". Unique in its VM, and the same
  /// whatever ids devices and buses have.
  std::string place;
  std::string type;  ///< QOM type, "virtio-net-pci"
  std::string id;    ///< the operator's, may be empty, may differ between the sides
  /// What the guest sees of it or what shapes its state in the stream, by name. Nothing of what backs it.
  std::map<std::string, std::string> properties;
  bool operator==(const Device&) const = default;
};

/// "device 'net0' (virtio-net-pci)", or "device e1000 at PCI 05.0" if it has no id.
std::string describe(const Device& device);

/// A sentence for each difference that a guest of `source` would not bear: a device that only one side has, one that
/// sits elsewhere or is of another type, a property that both sides know with two values. `same_version`: of the
/// hypervisors; if not, chips of the board that one version lists and the other does not are passed over.
std::vector<std::string> compare_devices(const std::vector<Device>& source, const std::vector<Device>& sink,
                                         bool same_version);

}  // namespace godwit
