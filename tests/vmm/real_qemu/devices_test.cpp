// Each kind of device, both ways: what the destination's QEMU has after the load is what the source's had, by having
// both save their devices once more. And the guest goes on.
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <tuple>

#include "tests/vmm/real_qemu/handover_base.h"
#include "vmm/qemu/device_file.h"
#include "vmm/qemu/direct_way.h"
#include "vmm/qemu/saved_devices.h"

namespace godwit::qemu::devices_test {
namespace {

using namespace testing;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// A machine with some devices. "%DIR%" becomes the folder with disk images.
struct Machine {
  const char* name;
  std::vector<std::string> more;
  std::string machine = "pc-i440fx-7.2";
  unsigned cpus = 1;
  bool kvm = false;
  /// What the destination's QEMU changes by itself while it loads, its own migration too: sections, and pages of RAM.
  std::set<std::string> changed_at_load = {};
  std::size_t pages_changed = 0;
};

const std::vector<std::string> kDisk = {"-blockdev", "driver=file,filename=%DIR%/disk.img,node-name=disk"};

std::vector<std::string> with_disk(std::vector<std::string> more) {
  more.insert(more.begin(), kDisk.begin(), kDisk.end());
  return more;
}

std::vector<Machine> machines() {
  return {
      {"bare", {}},
      {"virtio_net", {"-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n"}},
      {"virtio_blk", with_disk({"-device", "virtio-blk-pci,drive=disk"})},
      {"virtio_scsi", with_disk({"-device", "virtio-scsi-pci", "-device", "scsi-hd,drive=disk"})},
      {"virtio_console",
       {"-chardev", "null,id=c", "-device", "virtio-serial-pci", "-device", "virtconsole,chardev=c", "-device",
        "virtserialport,chardev=p,name=org.test", "-chardev", "null,id=p"}},
      {"virtio_rng", {"-device", "virtio-rng-pci"}},
      {"virtio_balloon", {"-device", "virtio-balloon-pci"}},
      {"virtio_gpu", {"-device", "virtio-vga"}},
      {"virtio_input", {"-device", "virtio-keyboard-pci", "-device", "virtio-tablet-pci"}},
      {"e1000e", {"-netdev", "user,id=n", "-device", "e1000e,netdev=n"}, "pc-q35-7.2"},
      {"e1000", {"-netdev", "user,id=n", "-device", "e1000,netdev=n"}},
      {"rtl8139", {"-netdev", "user,id=n", "-device", "rtl8139,netdev=n"}},
      {"ide", with_disk({"-device", "ide-hd,drive=disk"}), "pc-i440fx-7.2", 1, false, {"0000:00:01.1/ide 0"}},
      {"ahci", with_disk({"-device", "ich9-ahci,id=a", "-device", "ide-hd,drive=disk,bus=a.0"})},
      {"usb", with_disk({"-device", "qemu-xhci", "-device", "usb-tablet", "-device", "usb-kbd", "-device",
                         "usb-storage,drive=disk"})},
      {"usb_ehci",
       {"-device", "ich9-usb-ehci1,id=e", "-device", "ich9-usb-uhci1,masterbus=e.0", "-device", "usb-tablet,bus=e.0"}},
      {"vga", {"-vga", "std"}},
      {"cirrus", {"-vga", "cirrus"}},
      {"vmware_vga", {"-vga", "vmware"}},
      {"sound", {"-audiodev", "none,id=s", "-device", "intel-hda", "-device", "hda-duplex,audiodev=s"}},
      {"watchdog", {"-device", "i6300esb"}},
      // A VM generation is another one after each load; the guest is told so by an interrupt.
      {"vmgenid",
       {"-device", "vmgenid,guid=auto"},
       "pc-i440fx-7.2",
       1,
       false,
       {"0000:00:01.3/piix4_pm 0", "cpu_common 0"},
       1},
      {"pvpanic", {"-device", "pvpanic"}},
      {"floppy", {"-device", "floppy"}},
      {"pci_bridge",
       {"-device", "pci-bridge,id=b,chassis_nr=1", "-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n,bus=b"}},
      {"root_ports",
       {"-device", "pcie-root-port,id=r,chassis=1", "-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n,bus=r",
        "-device", "pcie-root-port,id=r2,chassis=2"},
       "pc-q35-7.2"},
      {"iommu", {"-device", "intel-iommu,intremap=on"}, "pc-q35-7.2,kernel-irqchip=split"},
      {"pflash",
       {"-drive", "if=pflash,format=raw,readonly=on,file=%DIR%/code.fd", "-drive",
        "if=pflash,format=raw,file=%DIR%/vars.fd"}},
      {"four_cpus", {}, "pc-i440fx-7.2", 4},
      {"q35_all",
       with_disk({"-device", "virtio-blk-pci,drive=disk", "-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n",
                  "-device", "virtio-balloon-pci", "-device", "virtio-rng-pci", "-device", "qemu-xhci", "-device",
                  "usb-tablet", "-vga", "std"}),
       "pc-q35-7.2", 2},
      // The page in which KVM's task priority is kept is written at the load.
      {"kvm", {}, "pc-i440fx-7.2", 1, true, {}, 1},
      {"kvm_four_cpus", {"-vga", "std", "-device", "virtio-balloon-pci"}, "pc-q35-7.2", 4, true, {}, 1},
  };
}

using Sections = std::map<std::string, std::string>;

/// What a paused QEMU has, section by section: "name instance" to its bytes.
Sections save(QemuVm& vm) {
  auto file = DeviceFile::lend(*vm.qmp);
  EXPECT_TRUE(file) << file.error().message;
  const auto saved = save_devices(*vm.qmp, *file, false);
  EXPECT_TRUE(saved) << saved.error().message;
  const auto& bytes = saved.value();
  file->take_back();
  const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  Sections sections;
  std::size_t at = 8;  // behind magic and version
  while (at < text.size() && text[at] == 4) {
    const std::string id = text.substr(at + 1, 4);
    const std::size_t length = static_cast<unsigned char>(text[at + 5]);
    const std::string name = text.substr(at + 6, length);
    const auto instance = static_cast<unsigned char>(text[at + 6 + length + 3]);
    const std::size_t content = at + 6 + length + 8;
    // A section does not say how long it is. Behind its footer comes another one, or the end.
    std::size_t end = content;
    do {
      end = text.find("\x7e" + id, end == content ? end : end + 1);
    } while (end != text.npos && text[end + 5] != 4 && end + 6 != text.size());
    if (end == text.npos) break;
    sections[name + " " + std::to_string(instance)] = text.substr(content, end - content);
    at = end + 5;
  }
  EXPECT_EQ(at, text.size() - 1) << "not understood";
  return sections;
}

constexpr const char* kClock = "mc146818rtc 0";

std::set<std::string> differing(const Sections& a, const Sections& b) {
  std::set<std::string> names;
  for (const auto& [name, content] : a) {
    const auto other = b.find(name);
    if (other == b.end() || other->second != content) names.insert(name);
  }
  for (const auto& [name, content] : b) {
    if (!a.contains(name)) names.insert(name);
  }
  // QEMU's own clocks: their offsets are to each host's time.
  for (const char* clock : {"timer 0", "kvmclock 0", "kvm-tpr-opt 0"}) names.erase(clock);
  return names;
}

class DevicesTest : public HandoverBase,
                    public ::testing::WithParamInterface<std::tuple<Machine, QemuVersion, DeviceWay>> {
 protected:
  void SetUp() override {
    const auto& [machine, version, way] = GetParam();
    const auto program = godwit::testing::find_qemu(version);
    if (!program) GTEST_SKIP() << program.error().message;
    if (machine.kvm && ::access("/dev/kvm", R_OK | W_OK) != 0) GTEST_SKIP() << "/dev/kvm cannot be opened";
    auto folder = godwit::testing::TempFolder::make("/tmp");
    ASSERT_TRUE(folder);
    folder_.emplace(std::move(*folder));
    for (const auto& [name, size] : {std::pair{"disk.img", kMiB}, {"code.fd", 256 * kKiB}, {"vars.fd", 256 * kKiB}}) {
      write_file(name, size);
    }
    way_ = way;
    options_.machine = machine.machine;
    options_.cpus = machine.cpus;
    options_.kvm = machine.kvm;
    for (std::string argument : machine.more) {
      const auto at = argument.find("%DIR%");
      if (at != argument.npos) argument.replace(at, 5, folder_->path().string());
      options_.more.push_back(std::move(argument));
    }
  }
  /// Firmware in flash is SeaBIOS, as it is in ROM.
  void write_file(const std::string& name, std::uint64_t size) {
    const auto path = folder_->path() / name;
    if (name == "code.fd") {
      std::filesystem::copy_file("/usr/share/seabios/bios-256k.bin", path);
      return;
    }
    std::ofstream(path) << std::string(size, 'v');
  }
  void move_and_compare();
  std::optional<godwit::testing::TempFolder> folder_;
};
class DevicesLong : public DevicesTest {};

void DevicesTest::move_and_compare() {
  const auto& machine = std::get<Machine>(GetParam());
  const auto version = std::get<QemuVersion>(GetParam());
  ASSERT_NO_FATAL_FAILURE(start_source(version, Ram::kPrivate));
  ASSERT_THAT(source_.vm.inspection.obstacles, IsEmpty());
  ASSERT_NO_FATAL_FAILURE(start_sink(version, Ram::kPrivate));
  ASSERT_NO_FATAL_FAILURE(hand_over());
  const auto before = save(source_.vm);
  const auto after = save(sink_.vm);
  // The clock of a paused guest goes on by the host's: a second may end between the two, or have ended between the
  // source's save and the load, which leaves a flag behind. What it shows guest_clocks_test looks at.
  auto different = differing(before, after);
  different.erase(kClock);
  for (const auto& name : different) EXPECT_THAT(machine.changed_at_load, Contains(name));
  EXPECT_GT(before.size(), 10u);
  EXPECT_LE(pages_that_differ(), machine.pages_changed);
  ASSERT_TRUE(sink_vm_->resume());
  EXPECT_TRUE(ticks(*sink_.qemu));
  EXPECT_TRUE(source_vm_->finish());
}

TEST_P(DevicesTest, ArriveAsTheyWere) {
  move_and_compare();
}
TEST_P(DevicesLong, ArriveAsTheyWere) {
  move_and_compare();
}

std::string test_name(const ::testing::TestParamInfo<std::tuple<Machine, QemuVersion, DeviceWay>>& each) {
  return std::string(std::get<Machine>(each.param).name) + "_" +
         (std::get<QemuVersion>(each.param) == QemuVersion::k7_2 ? "7" : "10");
}

INSTANTIATE_TEST_SUITE_P(Directly, DevicesTest,
                         ::testing::Combine(::testing::ValuesIn(machines()),
                                            ::testing::Values(QemuVersion::k7_2, QemuVersion::k10_0),
                                            ::testing::Values(DeviceWay::kDirect)),
                         test_name);
INSTANTIATE_TEST_SUITE_P(ByTheStream, DevicesLong,
                         ::testing::Combine(::testing::ValuesIn(machines()),
                                            ::testing::Values(QemuVersion::k7_2, QemuVersion::k10_0),
                                            ::testing::Values(DeviceWay::kStream)),
                         test_name);

class DeviceWayTest : public HandoverBase {
 protected:
  /// Why the devices of such a machine cannot go directly; empty if they can.
  std::string why_not(QemuVersion version, std::vector<std::string> more) {
    options_.version = version;
    options_.ram = Ram::kPrivate;
    options_.size = 32 * kMiB;
    options_.more = std::move(more);
    Side side;
    start(side, options_);
    if (HasFatalFailure()) return "it did not start";
    const auto why = why_not_directly(*side.vm.qmp, side.vm.inspection);
    EXPECT_TRUE(why) << why.error().message;
    obstacles_ = side.vm.inspection.obstacles;
    return why ? why->value_or("") : "?";
  }
  std::vector<Obstacle> obstacles_;
};

TEST_F(DeviceWayTest, IsTheStreamForWhatNeedsAMigration) {
  for (const auto version : {QemuVersion::k7_2, QemuVersion::k10_0}) {
    const auto program = godwit::testing::find_qemu(version);
    if (!program) GTEST_SKIP() << program.error().message;
    EXPECT_EQ(why_not(version, {}), "");
    EXPECT_THAT(why_not(version, {"-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n,id=nic,failover=on"}),
                HasSubstr("failover pair"));
  }
}

TEST_F(DeviceWayTest, IsTheStreamWhereBlocksCannotBeLocated) {
  EXPECT_EQ(why_not(QemuVersion::k7_2, {}), "");
  Side side;
  ASSERT_NO_FATAL_FAILURE(start(side, options_));
  side.vm.inspection.other.missing = "it cannot be found";
  EXPECT_EQ(why_not_directly(*side.vm.qmp, side.vm.inspection).value(), "it cannot be found");
}

/// QEMU would save such a device without its state if it were asked to.
TEST_F(DeviceWayTest, ADeviceThatCannotBeMigratedIsAnObstacleBothWays) {
  const auto program = godwit::testing::find_qemu(QemuVersion::k10_0);
  if (!program) GTEST_SKIP() << program.error().message;
  auto folder = godwit::testing::TempFolder::make("/tmp");
  ASSERT_TRUE(folder);
  const auto disk = folder->path() / "disk.img";
  std::ofstream(disk) << std::string(kMiB, 'd');
  (void)why_not(QemuVersion::k10_0, {"-blockdev", "driver=file,filename=" + disk.string() + ",node-name=d", "-device",
                                     "nvme,drive=d,serial=1"});
  ASSERT_EQ(obstacles_.size(), 1u);
  EXPECT_THAT(obstacles_.front().why, HasSubstr("nvme"));
}

}  // namespace
}  // namespace godwit::qemu::devices_test
