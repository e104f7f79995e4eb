#include "host/accelerators.h"

#include <gtest/gtest.h>

#include "host/accelerator_devices.h"

#include "tests/host/made_up_host.h"

namespace godwit::accelerators_test {
namespace {

using testing::MadeUpHost;
using Names = std::vector<std::string>;

void add_pci(const MadeUpHost& host, const std::string& slot, const std::string& vendor, const std::string& device,
             bool driver) {
  const std::string folder = "sys/bus/pci/devices/" + slot;
  host.write(folder + "/vendor", vendor + "\n");
  host.write(folder + "/device", device + "\n");
  if (driver) host.write(folder + "/driver/bind", "");
}

TEST(Accelerators, CountsQatByPciId) {
  const MadeUpHost host;
  add_pci(host, "0000:6b:00.0", "0x8086", "0x4940", true);
  add_pci(host, "0000:70:00.0", "0x8086", "0x4942", true);
  add_pci(host, "0000:3d:00.0", "0x8086", "0x37c8", false);
  add_pci(host, "0000:00:1f.0", "0x8086", "0x1234", true);
  add_pci(host, "0000:01:00.0", "0x10de", "0x4940", true);
  EXPECT_EQ(find_accelerators(host.path("sys")).compressors, Names{"qat: 3 devices, 1 without a driver"});
}

TEST(Accelerators, SaysOneDevice) {
  const MadeUpHost host;
  add_pci(host, "0000:6b:00.0", "0x8086", "0x4940", true);
  EXPECT_EQ(find_accelerators(host.path("sys")).compressors, Names{"qat: 1 device"});
}

TEST(Accelerators, TellsIaaFromDsaAndFromQueues) {
  const MadeUpHost host;
  host.write("sys/bus/dsa/devices/dsa0/state", "enabled\n");
  host.write("sys/bus/dsa/devices/iax1/state", "enabled\n");
  host.write("sys/bus/dsa/devices/iax3/state", "disabled\n");
  host.write("sys/bus/dsa/devices/wq1.0/state", "enabled\n");
  host.write("sys/bus/dsa/devices/group1.0/id", "0\n");
  const Accelerators found = find_accelerators(host.path("sys"));
  EXPECT_EQ(found.compressors, (Names{"iax1", "iax3 (disabled)"}));
  EXPECT_EQ(found.data_movers, Names{"dsa0"});
}

TEST(AcceleratorDevices, SayWhatIsToBeDone) {
  const MadeUpHost host;
  add_pci(host, "0000:3d:00.0", "0x8086", "0x37c8", false);
  add_pci(host, "0000:6b:00.0", "0x8086", "0x4940", true);
  host.write("sys/bus/pci/devices/0000:6b:00.0/uevent", "DRIVER=qat_4xxx\nPCI_CLASS=B4000\n");
  host.write("sys/bus/pci/devices/0000:6b:00.0/numa_node", "1\n");
  host.write("sys/bus/pci/devices/0000:6b:00.0/qat/state", "up\n");
  host.write("sys/bus/pci/devices/0000:6b:00.0/qat/cfg_services", "sym;asym\n");
  host.write("sys/bus/dsa/devices/iax1/state", "enabled\n");
  host.write("sys/bus/dsa/devices/iax1/pasid_enabled", "1\n");
  host.write("sys/bus/dsa/devices/wq1.0/state", "enabled\n");
  host.write("sys/bus/dsa/devices/wq1.0/type", "user\n");
  host.write("sys/bus/dsa/devices/iax3/state", "disabled\n");
  host.write("sys/bus/dsa/devices/iax3/pasid_enabled", "0\n");
  const auto devices = look_at_accelerators(host.path("sys"));
  ASSERT_EQ(devices.size(), 4U);
  EXPECT_EQ(devices[0].text(), "qat 0000:3d:00.0: no driver");
  EXPECT_EQ(devices[1].text(), "qat 0000:6b:00.0: qat_4xxx, node 1, up, services sym;asym");
  ASSERT_EQ(devices[1].to_do.size(), 3U);
  EXPECT_TRUE(devices[1].to_do[1].starts_with("echo dc > ")) << devices[1].to_do[1];
  EXPECT_EQ(devices[2].text(), "iaa iax1: idxd, enabled, 1 work queue for users, shared addresses");
  EXPECT_TRUE(devices[2].to_do.empty());
  EXPECT_EQ(devices[3].text(), "iaa iax3: idxd, disabled, 0 work queues for users");
  ASSERT_EQ(devices[3].to_do.size(), 5U);
  EXPECT_EQ(devices[3].to_do.back(), "accel-config enable-wq iax3/wq3.0");
}

TEST(Accelerators, FindsNoneInAnEmptyTree) {
  const MadeUpHost host;
  EXPECT_TRUE(find_accelerators(host.path("sys")).compressors.empty());
  EXPECT_TRUE(find_accelerators(host.path("sys")).data_movers.empty());
}

}  // namespace
}  // namespace godwit::accelerators_test
