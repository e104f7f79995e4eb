// A Linux guest uses devices of every kind before a move and after it, there and back, directly and by the stream.
#include <filesystem>
#include <fstream>
#include <tuple>

#include "tests/integration/device_checks.h"
#include "tests/integration/scene.h"

namespace godwit::testing {
namespace {

// Debian's package ovmf.
constexpr const char* kFirmware = "/usr/share/OVMF/OVMF_CODE_4M.fd";
constexpr const char* kFirmwareVariables = "/usr/share/OVMF/OVMF_VARS_4M.fd";

using Arguments = std::vector<std::string>;

struct Shape {
  const char* name;
  const char* machine;
  unsigned cpus;
  Ram ram;
  Arguments arguments;
  std::function<DeviceChecks()> checks;
  std::vector<unsigned> disks = {};
  bool flash = false;
  bool tpm = false;
};

void PrintTo(const Shape& shape, std::ostream* out) {
  *out << shape.name;
}

template <typename... Check>
DeviceChecks checks_of(Check... check) {
  DeviceChecks checks;
  (checks.push_back(std::move(check)), ...);
  return checks;
}

/// A disk of so many MiB behind a device.
Arguments disk_at(unsigned mebibytes, const std::string& device, const std::string& more = "") {
  const std::string id = "d" + std::to_string(mebibytes);
  return {"-drive", "if=none,format=raw,id=" + id + ",file=%SHARED%/" + std::to_string(mebibytes) + ".img" + more,
          "-device", device + ",drive=" + id};
}

/// A network card on a network of its own.
Arguments card_at(unsigned number, const std::string& device) {
  const std::string n = std::to_string(number);
  return {"-netdev", "user,id=n" + n + ",net=10.0." + n + ".0/24", "-device",
          device + ",romfile=,netdev=n" + n + ",mac=52:54:00:00:00:0" + n};
}

Arguments all(std::initializer_list<Arguments> parts) {
  Arguments line;
  for (const auto& part : parts) line.insert(line.end(), part.begin(), part.end());
  return line;
}

const Arguments kPort = {"-device",  "virtio-serial-pci",
                         "-chardev", "socket,id=port,path=%OWN%/port,server=on,wait=off",
                         "-device",  "virtserialport,chardev=port,name=org.godwit.test"};
const Arguments kSmallVirtio = {"-device", "virtio-rng-pci", "-device", "virtio-balloon-pci"};
constexpr const char* kDirectIo = ",cache=none,aio=native";

const Arguments kVirtioDevices =
    all({disk_at(17, "virtio-blk-pci", kDirectIo),
         {"-device", "virtio-scsi-pci,id=s"},
         disk_at(18, "scsi-hd,bus=s.0"),
         card_at(1, "virtio-net-pci"),
         kPort,
         kSmallVirtio,
         {"-device", "virtio-vga", "-device", "virtio-keyboard-pci", "-device", "virtio-tablet-pci"}});

DeviceChecks virtio_checks(unsigned number) {
  return checks_of(disk("virtio-blk", 17), disk("virtio-scsi", 18), network_card("virtio-net", 1), port(),
                   random_source(), balloon(), screen(), keyboard("QEMU Virtio Keyboard"), tablet("QEMU Virtio Tablet"),
                   cpus(number));
}

const Arguments kUsb = {"-device", "qemu-xhci,id=usb", "-device", "usb-tablet,bus=usb.0"};

const Arguments kDisksOnPc = all({disk_at(17, "ide-hd,bus=ide.0"),
                                  {"-device", "ich9-ahci,id=ahci"},
                                  disk_at(18, "ide-hd,bus=ahci.0"),
                                  kUsb,
                                  disk_at(19, "usb-storage,bus=usb.0"),
                                  {"-device", "VGA"}});

const Arguments kDisksOnQ35 = all({disk_at(17, "ide-hd,bus=ide.0", kDirectIo),
                                   {"-device", "pcie-root-port,id=r1,chassis=1"},
                                   disk_at(18, "virtio-blk-pci,bus=r1"),
                                   {"-device", "pcie-root-port,id=r2,chassis=2"},
                                   {"-device", "qemu-xhci,id=usb,bus=r2", "-device", "usb-tablet,bus=usb.0"},
                                   disk_at(19, "usb-storage,bus=usb.0", kDirectIo),
                                   {"-device", "VGA"}});

const Arguments kCardsOnQ35 = all({card_at(1, "e1000e"),
                                   {"-device", "pcie-root-port,id=r1,chassis=1"},
                                   card_at(2, "e1000e,bus=r1"),
                                   {"-device", "pcie-root-port,id=r2,chassis=2"},
                                   card_at(3, "virtio-net-pci,bus=r2")});

const Arguments kTpm = {"-chardev", "socket,id=tpm-line,path=%OWN%/tpm", "-tpmdev",
                        "emulator,id=tpm0,chardev=tpm-line"};

const Arguments kCardsOnPc = all({card_at(1, "e1000"),
                                  card_at(2, "rtl8139"),
                                  {"-device", "pci-bridge,id=b,chassis_nr=1"},
                                  card_at(3, "virtio-net-pci,bus=b,addr=1"),
                                  kTpm,
                                  {"-device", "tpm-tis,tpmdev=tpm0"}});

const Arguments kFirmwareOnQ35 = all({{"-drive", std::string("if=pflash,format=raw,readonly=on,file=") + kFirmware,
                                       "-drive", "if=pflash,format=raw,file=%SHARED%/vars.fd"},
                                      kTpm,
                                      {"-device", "tpm-crb,tpmdev=tpm0", "-device", "VGA"},
                                      disk_at(17, "virtio-blk-pci")});

std::vector<Shape> shapes() {
  return {
      {"VirtioOnPc", "pc-i440fx-7.2", 1, Ram::kPrivate, kVirtioDevices, [] { return virtio_checks(1); }, {17, 18}},
      {"VirtioOnQ35", "pc-q35-7.2", 4, Ram::kFile, kVirtioDevices, [] { return virtio_checks(4); }, {17, 18}},
      {"DisksOnPc",
       "pc-i440fx-7.2",
       1,
       Ram::kMemfd,
       kDisksOnPc,
       [] {
         return checks_of(disk("IDE", 17), disk("AHCI", 18), disk("USB", 19), screen(),
                          keyboard("AT Translated Set 2 keyboard"), mouse("PS/2"), tablet("QEMU USB Tablet"), rtc());
       },
       {17, 18, 19}},
      {"DisksOnQ35",
       "pc-q35-7.2",
       4,
       Ram::kPrivate,
       kDisksOnQ35,
       [] {
         return checks_of(disk("AHCI", 17), disk("virtio-blk behind a root port", 18), disk("USB", 19), screen(),
                          tablet("QEMU USB Tablet"), cpus(4));
       },
       {17, 18, 19}},
      {"CardsOnQ35", "pc-q35-7.2", 4, Ram::kFile, kCardsOnQ35,
       [] {
         return checks_of(network_card("e1000e", 1), network_card("e1000e behind a root port", 2),
                          network_card("virtio behind a root port", 3), clock_source("hpet"), rtc(), cpus(4));
       }},
      {"CardsOnPc",
       "pc-i440fx-7.2",
       1,
       Ram::kPrivate,
       kCardsOnPc,
       [] {
         return checks_of(network_card("e1000", 1), network_card("rtl8139", 2),
                          network_card("virtio behind a bridge", 3), tpm(), clock_source("acpi_pm"));
       },
       {},
       false,
       true},
      {"FirmwareOnQ35",
       "pc-q35-7.2",
       1,
       Ram::kPrivate,
       kFirmwareOnQ35,
       [] { return checks_of(firmware_variable(), tpm(), screen(), disk("virtio-blk", 17), clock_source("hpet")); },
       {17},
       true,
       true},
      {"QxlOnPc", "pc-i440fx-7.2", 1, Ram::kMemfd, {"-device", "qxl-vga"}, [] { return checks_of(screen(), rtc()); }},
  };
}

using Course = std::tuple<Shape, QemuVersion, const char*>;

class DeviceGuestsLong : public ::testing::TestWithParam<Course> {
 protected:
  /// What does not work is named, device by device.
  void each(const char* when, const std::function<Status(DeviceCheck&)>& use) {
    for (const auto& check : checks_) {
      const auto result = use(*check);
      EXPECT_TRUE(result) << when << ", " << check->name() << ": " << result.error().message;
    }
  }
  DeviceChecks checks_;
};

TEST_P(DeviceGuestsLong, GoOnThereAndBack) {
  const auto& [shape, version, way] = GetParam();
  if (shape.flash && !std::filesystem::exists(kFirmware)) GTEST_SKIP() << kFirmware << " is not there (package ovmf)";
  DeviceGuestOptions options;
  options.qemu.machine = shape.machine;
  options.qemu.version = version;
  options.qemu.cpus = shape.cpus;
  options.qemu.ram = shape.ram;
  options.qemu.more = shape.arguments;
  options.disks = shape.disks;
  if (shape.flash) options.flash = kFirmwareVariables;
  options.tpm = shape.tpm;
  ASSIGN_OR_SKIP(guest, DeviceGuest::start(options));
  ASSERT_OK(guest->wait_until_ready());
  checks_ = shape.checks();
  each("at first", [&](DeviceCheck& check) { return check.set_up(*guest); });
  for (unsigned move = 0; move < 2; ++move) {
    SCOPED_TRACE("move " + std::to_string(move));
    each("before the move", [&](DeviceCheck& check) { return check.before(*guest, move); });
    if (HasFailure()) return;  // not Godwit's doing, and what follows would only repeat it
    ASSERT_OK(guest->expect_calm());
    ASSERT_OK(guest->move(way));
    each("after the move", [&](DeviceCheck& check) { return check.after(*guest, move); });
    ASSERT_OK(guest->expect_calm());
  }
}

/// QEMU itself cannot migrate it; Godwit must say so rather than lose what it holds.
class NvmeLong : public ::testing::TestWithParam<QemuVersion> {};
TEST_P(NvmeLong, IsRefusedByName) {
  ASSIGN_OR_FAIL(folder, TempFolder::make("/tmp"));
  const auto image = folder.path() / "disk.img";
  std::ofstream(image).flush();
  std::filesystem::resize_file(image, 16 * kMiB);
  QemuOptions options = quiet_vm();
  options.version = GetParam();
  options.more = {"-drive", "if=none,id=d,format=raw,file=" + image.string(), "-device", "nvme,drive=d,serial=1"};
  ASSIGN_OR_SKIP(scene, Scene::make(options));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send());
  ASSERT_OK(scene->sender().wait(seconds(60)));
  scene->receiver().process().kill();  // nobody came
  ASSERT_OK(scene->expect_source_runs({"nvme"}));
}
INSTANTIATE_TEST_SUITE_P(All, NvmeLong, ::testing::Values(QemuVersion::k7_2, QemuVersion::k10_0),
                         [](const auto& tested) { return tested.param == QemuVersion::k7_2 ? "With7" : "With10"; });

std::string name_of_course(const ::testing::TestParamInfo<Course>& tested) {
  const auto& [shape, version, way] = tested.param;
  return std::string(shape.name) + "_" + (version == QemuVersion::k7_2 ? "7" : "10") + "_" + way;
}

INSTANTIATE_TEST_SUITE_P(All, DeviceGuestsLong,
                         ::testing::Combine(::testing::ValuesIn(shapes()),
                                            ::testing::Values(QemuVersion::k7_2, QemuVersion::k10_0),
                                            ::testing::Values("direct", "stream")),
                         name_of_course);

}  // namespace
}  // namespace godwit::testing
