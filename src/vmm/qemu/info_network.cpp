#include "vmm/qemu/info_network.h"

#include <algorithm>

namespace godwit::qemu {
namespace {

constexpr std::string_view kType = ",type=";

/// "virtio-net-pci.0: index=0,type=nic,model=..." or, for what it is connected to, " \ n0: index=0,type=tap,..."
NetworkLine parse_line(std::string_view line) {
  NetworkLine found;
  const auto begin = std::min(line.find_first_not_of(" \\"), line.size());
  const auto colon = line.find(':', begin);
  const auto type = line.find(kType);
  if (colon == std::string_view::npos || type == std::string_view::npos) return found;
  const auto rest = line.substr(type + kType.size());
  found.name = line.substr(begin, colon - begin);
  found.type = rest.substr(0, rest.find_first_of(",\r"));
  return found;
}

}  // namespace

std::vector<NetworkLine> parse_network_lines(std::string_view text) {
  std::vector<NetworkLine> lines;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    auto line = parse_line(text.substr(0, end));
    if (!line.name.empty()) lines.push_back(std::move(line));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

}  // namespace godwit::qemu
