// Devices as "info qtree" lists them: in text that QEMU printed, and of real QEMUs.
#include "vmm/qemu/device_tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/limits.h"

namespace godwit::qemu::device_tree_test {
namespace {

using ::testing::Contains;
using ::testing::Key;
using ::testing::Not;
using ::testing::Pair;

constexpr std::string_view kTree =
    "bus: main-system-bus\r\n"
    "  type System\r\n"
    "  dev: hpet, id \"\"\r\n"
    "    gpio-in \"\" 2\r\n"
    "    timers = 3 (0x3)\r\n"
    "    hpet-offset-saved = true\r\n"
    "  dev: i440FX-pcihost, id \"\"\r\n"
    "    short_root_bus = 0 (0x0)\r\n"
    "    bus: pci.0\r\n"
    "      type PCI\r\n"
    "      dev: virtio-scsi-pci, id \"vs\"\r\n"
    "        addr = 06.0\r\n"
    "        rombar = -1 (0xffffffffffffffff)\r\n"
    "        romsize = 4294967295 (0xffffffff)\r\n"
    "        class SCSI controller, addr 00:06.0, pci id 1af4:1004 (sub 1af4:0008)\r\n"
    "        bus: virtio-bus\r\n"
    "          type virtio-pci-bus\r\n"
    "          dev: virtio-scsi-device, id \"\"\r\n"
    "            num_queues = 2 (0x2)\r\n"
    "            event_idx = true\r\n"
    "            use-started = true\r\n"
    "            iothread = \"\"\r\n"
    "            bus: vs.0\r\n"
    "              type SCSI\r\n"
    "              dev: scsi-hd, id \"\"\r\n"
    "                drive = \"d1\"\r\n"
    "                serial = \"a b\"\r\n"
    "                logical_block_size = 512 (512 B)\r\n"
    "                channel = 0 (0x0)\r\n"
    "                scsi-id = 0 (0x0)\r\n"
    "                lun = 1 (0x1)\r\n"
    "      dev: qemu-xhci, id \"xh\"\r\n"
    "        addr = 09.0\r\n"
    "        bus: xh.0\r\n"
    "          type usb-bus\r\n"
    "          dev: usb-tablet, id \"\"\r\n"
    "            port = \"\"\r\n"
    "            addr 0.0, port 1, speed 480, name QEMU USB Tablet, attached\r\n"
    "      dev: PIIX3, id \"\"\r\n"
    "        addr = 01.0\r\n"
    "        bus: isa.0\r\n"
    "          type ISA\r\n"
    "          dev: isa-i8259, id \"\"\r\n"
    "          dev: isa-i8259, id \"\"\r\n";

const Device* find(const std::vector<Device>& devices, const std::string& place) {
  const auto found = std::find_if(devices.begin(), devices.end(), [&](const Device& d) { return d.place == place; });
  return found == devices.end() ? nullptr : &*found;
}

/// One more than there may be, so that it is refused rather than compared in part.
TEST(DeviceTree, OfTooManyDevicesHasOneTooMany) {
  const auto listed = [](std::size_t count) {
    std::string text = "bus: main-system-bus\r\n  type System\r\n";
    for (std::size_t i = 0; i < count; ++i) text += "  dev: hpet, id \"h" + std::to_string(i) + "\"\r\n";
    return comparable_devices(parse_device_tree(text)).size();
  };
  EXPECT_EQ(listed(most::kDevices), most::kDevices);
  EXPECT_EQ(listed(most::kDevices + 1), most::kDevices + 1);
  EXPECT_EQ(listed(10 * most::kDevices), most::kDevices + 1);
}

TEST(DeviceTree, PlacesAreThoseThatTheGuestSees) {
  const auto devices = comparable_devices(parse_device_tree(kTree));
  std::vector<std::string> places;
  for (const auto& device : devices) places.push_back(device.place + "=" + device.type);
  EXPECT_THAT(places, ::testing::ElementsAre("hpet=hpet", "i440FX-pcihost=i440FX-pcihost", "PCI 06.0=virtio-scsi-pci",
                                             "PCI 06.0 / SCSI 0:0:1=scsi-hd", "PCI 09.0=qemu-xhci",
                                             "PCI 09.0 / USB 1=usb-tablet", "PCI 01.0=PIIX3",
                                             "PCI 01.0 / isa-i8259=isa-i8259", "PCI 01.0 / isa-i8259 #2=isa-i8259"));
}

TEST(DeviceTree, PropertiesAreThoseOfTheGuest) {
  const auto devices = comparable_devices(parse_device_tree(kTree));
  const Device* scsi = find(devices, "PCI 06.0");
  ASSERT_NE(scsi, nullptr);
  EXPECT_EQ(scsi->id, "vs");
  EXPECT_THAT(scsi->properties, Contains(Pair("num_queues", "2")));
  EXPECT_THAT(scsi->properties, Contains(Pair("event_idx", "on"))) << "a feature of the device behind the function";
  EXPECT_THAT(scsi->properties, Contains(Pair("rombar", "1"))) << "the default, as older versions write it";
  EXPECT_THAT(scsi->properties, Not(Contains(Key("use-started"))));
  EXPECT_THAT(scsi->properties, Not(Contains(Key("iothread"))));
  const Device* disk = find(devices, "PCI 06.0 / SCSI 0:0:1");
  ASSERT_NE(disk, nullptr);
  EXPECT_THAT(disk->properties, Contains(Pair("serial", "a b")));
  EXPECT_THAT(disk->properties, Contains(Pair("logical_block_size", "512")));
  EXPECT_THAT(disk->properties, Not(Contains(Key("drive"))));
  EXPECT_THAT(find(devices, "PCI 09.0 / USB 1")->properties, Not(Contains(Key("port"))));
}

/// What only says how the host works for a device may differ between the sides; what a guest's driver is told may not.
TEST(DeviceTree, PropertiesOfTheHostAreNotCompared) {
  const struct {
    const char* line;
    bool compared;
    const char* why;
  } cases[] = {
      {"prealloc = true", false, "how virtio-mem gets its memory"},
      {"dynamic-memslots = true", false, "how KVM maps it"},
      {"stats = true", false, "virtio-gpu counts frames for its operator"},
      {"ioeventfd = true", false, "how the host is notified"},
      {"iothread = \"io0\"", false, "which of the host's threads works"},
      {"iothread-vq-mapping = <null>", false, "which of the host's threads works"},
      {"request-merging = true", false, "how the host reads its disk"},
      {"share-rw = true", false, "who else may open the image"},
      {"account-failed = true", false, "what QEMU counts"},
      {"backend_defaults = \"on\"", false, "where limits come from; the limits themselves are compared"},
      {"write-cache = \"on\"", false, "the guest sets it, and it is in the stream"},
      {"x-txtimer = 150000", false, "how long the host collects packets"},
      {"x-txburst = 256", false, "how many packets the host sends at once"},
      {"tx = \"bh\"", false, "by what the host sends packets"},
      {"x-disable-legacy-check = true", false, "follows the machine type"},
      {"guest-stats-polling-interval = 2", false, "how often the host asks the balloon"},
      {"max-bytes = 1024", false, "how much randomness the host gives"},
      {"drive = \"d0\"", false, "what backs it"},
      {"netdev = \"n0\"", false, "what backs it"},
      {"queue-size = 256", true, "the driver is told the length of its rings"},
      {"rx_queue_size = 256", true, "the driver is told the length of its rings"},
      {"tx_queue_size = 256", true, "the driver is told it; QEMU prints what it uses"},
      {"num-queues = 4", true, "the driver is told it"},
      {"event_idx = true", true, "a feature"},
      {"discard = true", true, "a feature"},
      {"free-page-reporting = true", true, "a feature"},
      {"seg-max-adjust = true", true, "the driver is told how long a request may be"},
  };
  for (const auto& one : cases) {
    std::string tree = "bus: pci.0\n  type PCI\n  dev: virtio-x-pci, id \"v\"\n    addr = 03.0\n";
    tree += "    bus: virtio-bus\n      type virtio-pci-bus\n      dev: virtio-x-device, id \"\"\n        ";
    tree += one.line;
    tree += '\n';
    const std::string name = std::string(one.line).substr(0, std::string_view(one.line).find(" = "));
    const auto devices = comparable_devices(parse_device_tree(tree));
    ASSERT_EQ(devices.size(), 1u);
    EXPECT_EQ(devices[0].properties.contains(name), one.compared) << one.line << ": " << one.why;
  }
}

TEST(DeviceTree, AnythingIsSurvived) {
  EXPECT_TRUE(parse_device_tree("").empty());
  EXPECT_TRUE(parse_device_tree("unknown command: 'info qtree'\n").empty());
  EXPECT_EQ(parse_device_tree("dev: x\n  a = \n   dev: y, id \"\n  b = \"\n").size(), 2u);
  // Every cut of a good answer, and one that is turned round.
  for (std::size_t i = 0; i < kTree.size(); ++i) (void)comparable_devices(parse_device_tree(kTree.substr(i)));
  std::string many;
  for (int i = 0; i < 5000; ++i) many += "dev: x, id \"\"\n";
  EXPECT_EQ(parse_device_tree(many).size(), most::kDevices + 1);
}

}  // namespace
}  // namespace godwit::qemu::device_tree_test
