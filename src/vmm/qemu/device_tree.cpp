#include "vmm/qemu/device_tree.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/limits.h"
#include "vmm/qemu/json_access.h"

namespace godwit::qemu {
namespace {

// Bounds what a strange answer can make us do. One more than there may be is enough to be refused (vmm/vm_size.h).
constexpr std::size_t kEnoughDevices = most::kDevices + 1;
constexpr std::size_t kMaxText = most::kName;
// All properties of all devices: some 2 KiB each at most, and room in one message for the usual hundred of them.
constexpr std::size_t kMaxPropertyBytes = 256 * 1024;

std::string shortened(std::string_view text) {
  std::size_t end = std::min(text.size(), kMaxText);
  while (end < text.size() && end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return std::string(text.substr(0, end));
}

/// A bus or a device whose lines may follow, by how far they are indented.
struct Frame {
  std::size_t indent = 0;
  bool is_bus = false;
  std::string bus;
  std::string bus_type;
  std::optional<std::size_t> device;  // the frame's own, or the bus's owner
};

/// "262144 (0x40000)" is 262144; "\"abc\"" is abc; "04.0" stays.
std::string value_of(std::string_view text) {
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') return shortened(text.substr(1, text.size() - 2));
  return shortened(text.substr(0, text.find(" (")));
}

class Parser {
 public:
  void line(std::string_view text) {
    if (text.ends_with('\r')) text.remove_suffix(1);
    const std::size_t indent = std::min(text.find_first_not_of(' '), text.size());
    text.remove_prefix(indent);
    if (text.empty()) return;
    while (!frames_.empty() && frames_.back().indent >= indent) frames_.pop_back();
    if (text.starts_with("bus: ")) {
      open_bus(indent, text.substr(5));
    } else if (text.starts_with("dev: ")) {
      open_device(indent, text.substr(5));
    } else if (!frames_.empty()) {
      detail(text);
    }
  }
  std::vector<TreeDevice> take() { return std::move(devices_); }

 private:
  void open_bus(std::size_t indent, std::string_view name) {
    Frame frame{.indent = indent, .is_bus = true, .bus = shortened(name)};
    if (!frames_.empty()) frame.device = frames_.back().device;
    frames_.push_back(std::move(frame));
  }

  /// virtio-blk-pci, id "vb"
  void open_device(std::size_t indent, std::string_view text) {
    if (devices_.size() == kEnoughDevices) return;
    const auto comma = text.find(", id \"");
    TreeDevice device;
    device.type = shortened(text.substr(0, comma));
    if (comma != std::string_view::npos) {
      const auto id = text.substr(comma + 6);
      device.id = shortened(id.substr(0, id.rfind('"')));
    }
    if (!frames_.empty() && frames_.back().is_bus) {
      device.bus = frames_.back().bus;
      device.bus_type = frames_.back().bus_type;
      device.parent = frames_.back().device;
    }
    frames_.push_back(Frame{.indent = indent, .device = devices_.size()});
    devices_.push_back(std::move(device));
  }

  void detail(std::string_view text) {
    Frame& frame = frames_.back();
    if (frame.is_bus) {
      if (text.starts_with("type ")) frame.bus_type = shortened(text.substr(5));
      return;
    }
    TreeDevice& device = devices_[*frame.device];
    if (const auto equals = text.find(" = "); equals != std::string_view::npos) {
      device.properties[shortened(text.substr(0, equals))] = value_of(text.substr(equals + 3));
    } else if (text.starts_with("addr ") && text.find(", port ") != std::string_view::npos) {
      // USB: "addr 0.0, port 1, speed 480, name QEMU USB Tablet, attached"
      const auto port = text.substr(text.find(", port ") + 7);
      device.properties["usb port"] = shortened(port.substr(0, port.find(',')));
    }
  }

  std::vector<Frame> frames_;
  std::vector<TreeDevice> devices_;
};

std::string property(const TreeDevice& device, const std::string& name) {
  const auto found = device.properties.find(name);
  return found == device.properties.end() ? std::string() : found->second;
}

/// "ide.5" of whatever device: 5. Names of buses begin with the id of their device, which may differ.
std::string number_of_bus(const std::string& bus) {
  const auto dot = bus.rfind('.');
  return dot == std::string::npos ? std::string() : bus.substr(dot + 1);
}

/// Its place on its own bus; empty where it has none but its type.
std::string unit_of(const TreeDevice& device) {
  if (device.bus_type == "PCI" || device.bus_type == "PCIE" || device.bus_type == "CXL") {
    return "PCI " + property(device, "addr");
  }
  if (device.bus_type == "SCSI") {
    return fmt::format("SCSI {}:{}:{}", property(device, "channel"), property(device, "scsi-id"),
                       property(device, "lun"));
  }
  if (device.bus_type == "usb-bus") return "USB " + property(device, "usb port");
  if (device.bus_type == "IDE") return fmt::format("IDE {}.{}", number_of_bus(device.bus), property(device, "unit"));
  if (device.bus_type == "virtio-serial-bus") return "port " + property(device, "nr");
  return {};
}

bool is_behind_virtio_bus(const TreeDevice& device) {
  return device.parent && (device.bus_type == "virtio-pci-bus" || device.bus_type == "virtio-mmio-bus");
}

/// The first host bridge goes without saying.
bool goes_without_saying(const std::string& type) {
  return type == "i440FX-pcihost" || type == "q35-pcihost" || type == "gpex-pcihost";
}

void set_places(std::vector<TreeDevice>& devices) {
  std::map<std::string, int> seen;
  for (TreeDevice& device : devices) {
    std::string above = device.parent ? devices[*device.parent].place : std::string();
    if (is_behind_virtio_bus(device)) {
      device.place = above;
      continue;
    }
    if (device.parent && goes_without_saying(devices[*device.parent].type)) above.clear();
    std::string unit = unit_of(device);
    if (unit.empty()) unit = device.type;
    device.place = shortened(above.empty() ? unit : above + " / " + unit);
    // Chips of one kind on one bus are told apart by their number.
    if (const int before = seen[device.place]++; before > 0) device.place += fmt::format(" #{}", before + 1);
  }
}

bool is_switch(const std::string& value) {
  return value == "true" || value == "false" || value == "on" || value == "off";
}

/// Numbers and names that a guest sees. Not here: what backs a device, how the host works for it, QEMU's own
/// compatibility switches (they follow the machine type).
bool is_seen_by_guests(const std::string& name) {
  static constexpr auto kNames = std::to_array<std::string_view>(
      {"romsize", "rombar", "multifunction", "acpi-index", "vectors", "ats", "aer", "msi", "msix", "class", "chassis",
       "slot", "port", "hotplug", "disable-legacy", "disable-modern", "page-per-vq",
       // displays
       "vgamem_mb", "vram_size_mb", "ram_size_mb", "vram64_size_mb", "ram_size", "vram_size", "max_outputs", "edid",
       "xres", "yres", "xmax", "ymax", "mmio", "global-vmstate", "blob", "virgl",
       // network
       "mac", "mq", "host_mtu", "rx_queue_size", "tx_queue_size", "speed", "duplex", "init-vet", "extra_mac_registers",
       // disks
       "serial", "wwn", "port_wwn", "port_index", "vendor", "product", "model", "ver", "removable", "rotation_rate",
       "scsi_version", "logical_block_size", "physical_block_size", "num-queues", "num_queues", "queue-size",
       "virtqueue_size", "max_sectors", "cmd_per_lun", "max-discard-sectors", "max-write-zeroes-sectors", "dpofua",
       "channel", "scsi-id", "lun", "unit", "config-wce",
       // USB, serial lines and the rest
       "usb_version", "p2", "p3", "intrs", "slots", "streams", "index", "iobase", "irq", "nr", "name", "max_ports",
       "emergency-write", "timers", "hpet-intcap", "ppi", "version", "iommu_platform", "packed"});
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end();
}

/// Switches of a virtio device are features that its driver is offered, except for these.
bool is_virtio_feature(const std::string& name, const std::string& value) {
  static constexpr auto kOthers = std::to_array<std::string_view>(
      {"use-started", "use-disabled-flag", "request-merging", "report-discard-granularity", "share-rw", "ioeventfd",
       "account-invalid", "account-failed", "write-cache", "qemu-4-0-config-size", "legacy-iothread",
       // how the host gets memory for it, whether QEMU counts for its operator, where limits come from
       "prealloc", "dynamic-memslots", "stats", "backend_defaults"});
  return is_switch(value) && !name.starts_with("x-") &&
         std::find(kOthers.begin(), kOthers.end(), name) == kOthers.end();
}

/// Values that are written differently and mean the same.
std::string meaning_of(const std::string& name, const std::string& value) {
  if (name == "rombar" && value == "-1") return "1";  // the default, since 9.2
  if (is_switch(value)) return value == "true" || value == "on" ? "on" : "off";
  return value;
}

}  // namespace

std::vector<TreeDevice> parse_device_tree(std::string_view text) {
  Parser parser;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    parser.line(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  auto devices = parser.take();
  set_places(devices);
  return devices;
}

std::vector<Device> comparable_devices(const std::vector<TreeDevice>& tree) {
  std::vector<Device> devices;
  std::map<std::size_t, std::size_t> place_of;  // in the tree -> in `devices`
  std::size_t room = kMaxPropertyBytes;         // what does not fit is not compared
  for (std::size_t i = 0; i < tree.size(); ++i) {
    const TreeDevice& from = tree[i];
    const bool inner = is_behind_virtio_bus(from) && place_of.contains(*from.parent);
    if (!inner) devices.push_back({from.place, from.type, from.id, {}});
    place_of[i] = inner ? place_of[*from.parent] : devices.size() - 1;
    auto& to = devices[place_of[i]].properties;
    for (const auto& [name, value] : from.properties) {
      if (name == "port" && from.bus_type == "usb-bus") continue;  // what was asked for; the place says what it got
      if (!is_seen_by_guests(name) && !(inner && is_virtio_feature(name, value))) continue;
      if (name.size() + value.size() > room) continue;
      room -= name.size() + value.size();
      to[name] = meaning_of(name, value);
    }
  }
  return devices;
}

Result<std::vector<Device>> devices_without_bus(Qmp& qmp, const std::vector<TreeDevice>& tree) {
  std::vector<Device> devices;
  for (const std::string folder : {"/machine/peripheral", "/machine/peripheral-anon"}) {
    auto children = qmp.execute("qom-list", Json{{"path", folder}});
    if (!children && children.error().kind == ErrorKind::kHypervisor) continue;
    if (!children) return fail(std::move(children).error());
    if (!children->is_array()) return fail(ErrorKind::kProtocol, "qom-list: QEMU's answer is not a list");
    for (const Json& child : *children) {
      std::string type = text_at(child, "type");
      if (!type.starts_with("child<") || !type.ends_with(">")) continue;
      type = shortened(std::string_view(type).substr(6, type.size() - 7));
      const bool listed = std::any_of(tree.begin(), tree.end(), [&](const TreeDevice& d) { return d.type == type; });
      // CPUs are told of by the places that they fill.
      if (listed || type.ends_with("-cpu") || devices.size() == kEnoughDevices) continue;
      const auto before =
          std::count_if(devices.begin(), devices.end(), [&](const Device& d) { return d.type == type; });
      const std::string id = folder == "/machine/peripheral" ? shortened(text_at(child, "name")) : std::string();
      devices.push_back({before == 0 ? type : fmt::format("{} #{}", type, before + 1), type, id, {}});
    }
  }
  return devices;
}

}  // namespace godwit::qemu
