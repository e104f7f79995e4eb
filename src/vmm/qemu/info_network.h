// The networks and network cards that the human monitor's "info network" lists.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace godwit::qemu {

struct NetworkLine {
  std::string name;  ///< "n0", "virtio-net-pci.0"
  std::string type;  ///< "tap", "vhost-user", "nic", ...
};
std::vector<NetworkLine> parse_network_lines(std::string_view text);

}  // namespace godwit::qemu
