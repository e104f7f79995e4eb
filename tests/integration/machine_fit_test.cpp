// Machines and disks that do not fit are refused in the first second, by name and with both values, and both QEMUs are
// as they were; what differs only in what backs it is moved.
//
// The guest is SeaBIOS, which finds nothing to boot: what is refused never gets to the guest's memory.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mount.h>

#include <fstream>
#include <functional>

#include "tests/integration/scene.h"
#include "vmm/qemu/qemu_vm.h"

namespace godwit::testing {
namespace {

/// A VM with one of each thing that people get wrong, as words of QEMU's command line.
struct Machine {
  std::string board = "pc-i440fx-7.2";
  std::string name = "web";
  std::string uuid = "12345678-1234-1234-1234-123456789abc";
  std::string smp = "2,maxcpus=4,sockets=2,cores=2,threads=1";
  std::string vga = "VGA,addr=02.0,vgamem_mb=16";
  std::string net = "virtio-net-pci,id=net0,netdev=n0,mac=52:54:00:00:00:01,addr=04.0";
  std::string netdev = "user,id=n0";
  std::string first = "virtio-blk-pci,id=system,drive=d0,addr=05.0,serial=s0";
  std::string second = "virtio-blk-pci,id=data,drive=d1,addr=06.0";
  std::string first_image = "system.img";
  std::string second_image = "data.img";
  std::string drive_options = ",cache=none";
  std::vector<std::string> more;

  QemuOptions options(QemuVersion version, const std::filesystem::path& folder) const {
    QemuOptions o;
    o.version = version;
    o.size = 32 * kMiB;
    o.machine = board;
    o.more = {"-smp", smp, "-name", name, "-uuid", uuid};
    const auto drive = [&](const std::string& image, const char* id) {
      return fmt::format("file={},if=none,format=raw,id={}{}", (folder / image).string(), id, drive_options);
    };
    o.more.insert(o.more.end(), {"-drive", drive(first_image, "d0"), "-drive", drive(second_image, "d1")});
    o.more.insert(o.more.end(), {"-netdev", netdev});
    for (const auto& device : {vga, net, first, second}) {
      if (!device.empty()) o.more.insert(o.more.end(), {"-device", device});
    }
    o.more.insert(o.more.end(), more.begin(), more.end());
    return o;
  }
};

void write_image(const std::filesystem::path& path, std::uint64_t size, char content) {
  std::ofstream file(path, std::ios::binary);
  for (std::uint64_t at = 0; content != 0 && at < size; at += 65536) {
    file.seekp(static_cast<std::streamoff>(at));
    file << std::string(4096, content) << at;
  }
  file.close();
  std::filesystem::resize_file(path, size);
}

struct Case {
  std::string name;
  std::function<void(Machine&)> change;  ///< of the sink's
  std::vector<std::string> says;
};

std::vector<Case> machine_cases() {
  return {
      {"name",
       [](Machine& m) { m.name = "db"; },
       {"another VM", "'web' at the source", "'db' at the sink", "--any-vm"}},
      {"uuid", [](Machine& m) { m.uuid[0] = '9'; }, {"UUID", "'12345678-", "'92345678-"}},
      {"MAC", [](Machine& m) { m.net.replace(m.net.find(":01"), 3, ":02"); }, {"'net0'", "mac", "00:01'", "00:02'"}},
      {"NIC feature", [](Machine& m) { m.net += ",mrg_rxbuf=off"; }, {"'net0'", "mrg_rxbuf is 'on'", "'off'"}},
      {"NIC in another slot",
       [](Machine& m) { m.net.replace(m.net.find("04.0"), 4, "09.0"); },
       {"'net0'", "PCI 04.0", "PCI 09.0"}},
      {"NIC of another model",
       [](Machine& m) { m.net.replace(0, 14, "e1000"); },
       {"PCI 04.0", "virtio-net-pci", "e1000"}},
      {"no NIC", [](Machine& m) { m.net.clear(); }, {"'net0' (virtio-net-pci)", "missing at the sink"}},
      {"one device more",
       [](Machine& m) {
         m.more = {"-device", "virtio-rng-pci,addr=09.0"};
       },
       {"virtio-rng-pci at PCI 09.0", "missing at the source"}},
      {"video memory",
       [](Machine& m) { m.vga = "VGA,addr=02.0,vgamem_mb=32"; },
       {"VGA at PCI 02.0", "vgamem_mb is '16'", "'32'"}},
      {"romsize", [](Machine& m) { m.net += ",romsize=524288"; }, {"'net0'", "romsize is '262144'", "'524288'"}},
      {"hpet", [](Machine& m) { m.board += ",hpet=off"; }, {"hpet"}},
      {"max-ram-below-4g", [](Machine& m) { m.board += ",max-ram-below-4g=1G"; }, {"max-ram-below-4g", "1073741824"}},
      {"maxcpus", [](Machine& m) { m.smp = "2,maxcpus=8,sockets=4,cores=2,threads=1"; }, {"'maxcpus' is 4", "8 at"}},
      {"topology", [](Machine& m) { m.smp = "2,maxcpus=4,sockets=1,cores=4,threads=1"; }, {"'sockets' is 2", "1 at"}},
      {"network with a state of its own",
       [](Machine& m) { m.netdev = "socket,id=n0,udp=127.0.0.1:9,localaddr=127.0.0.1:0"; },
       {"-netdev user", "1 at the source", "0 at the sink"}},
      {"serial number", [](Machine& m) { m.first.back() = '1'; }, {"'system'", "serial is 's0'", "'s1'"}},
      {"queues", [](Machine& m) { m.first += ",num-queues=1"; }, {"'system'", "num-queues is '2'", "'1'"}},
  };
}

std::vector<Case> disk_cases() {
  return {
      {"a copy",
       [](Machine& m) { m.first_image = "copy.img"; },
       {"disk 'system' at PCI 05.0", "system.img", "copy.img", "--any-disks"}},
      {"an empty one", [](Machine& m) { m.first_image = "empty.img"; }, {"'system'", "system.img", "empty.img"}},
      {"half of it", [](Machine& m) { m.first_image = "small.img"; }, {"'system'", "8388608 bytes", "4194304 bytes"}},
      {"swapped",
       [](Machine& m) { std::swap(m.first_image, m.second_image); },
       {"'system' at PCI 05.0 is another disk", "'data' at PCI 06.0 is another disk"}},
      {"read-only", [](Machine& m) { m.first_image += ",readonly=on"; }, {"'system'", "writable", "read-only"}},
  };
}

class MachineFit : public ::testing::TestWithParam<QemuVersion> {
 protected:
  void SetUp() override {
    const auto program = find_qemu(GetParam());
    if (!program) GTEST_SKIP() << program.error().message;
    auto folder = TempFolder::make("/tmp");
    ASSERT_TRUE(folder) << folder.error().message;
    folder_ = std::move(*folder);
    for (const char* name : {"system.img", "copy.img"}) write_image(folder_.path() / name, 8 * kMiB, 's');
    write_image(folder_.path() / "data.img", 8 * kMiB, 'd');
    write_image(folder_.path() / "empty.img", 8 * kMiB, 0);
    write_image(folder_.path() / "small.img", 4 * kMiB, 's');
  }

  QemuOptions options(const Machine& machine) { return machine.options(GetParam(), folder_.path()); }

  /// Neither QEMU is harmed, and nothing has been changed in the one that waits.
  void expect_refused(TestQemu& source, const Case& one) {
    SCOPED_TRACE(one.name);
    Machine machine;
    one.change(machine);
    QemuOptions incoming = options(machine);
    incoming.incoming = true;
    ASSIGN_OR_FAIL(sink, TestQemu::start(incoming));
    ASSIGN_OR_FAIL(before, sink->monitor().execute("query-migrate-capabilities"));
    ASSIGN_OR_FAIL(receiver, start_receive(*sink));
    ASSIGN_OR_FAIL(address, receiver->listening_at(seconds(60)));
    ASSIGN_OR_FAIL(sender, start_send(source, address));
    ASSIGN_OR_FAIL(sent, sender->wait(seconds(120)));
    EXPECT_EQ(sent.code, 1) << sender->errors();
    // It waits for a VM that fits.
    EXPECT_TRUE(wait_until([&] { return says(receiver->errors(), "waiting for a source again"); }, seconds(60)))
        << receiver->errors();
    ASSERT_OK(receiver->process().send_signal(SIGINT));
    ASSIGN_OR_FAIL(received, receiver->wait(seconds(60)));
    EXPECT_NE(received.code, 0) << receiver->errors();
    for (const auto& word : one.says) {
      EXPECT_TRUE(says(sender->errors(), word)) << "'" << word << "' is not in: " << sender->errors();
      EXPECT_TRUE(says(receiver->errors(), word)) << "'" << word << "' is not in: " << receiver->errors();
    }
    EXPECT_EQ(source.status().value_or("gone"), "running");
    EXPECT_EQ(sink->status().value_or("gone"), "inmigrate");
    EXPECT_EQ(sink->monitor().execute("query-migrate-capabilities").value_or(Json()), before);
  }

  TempFolder folder_;
};

TEST_P(MachineFit, OtherMachinesAreRefusedByName) {
  ASSIGN_OR_SKIP(source, TestQemu::start(options(Machine{})));
  for (const auto& one : machine_cases()) ASSERT_NO_FATAL_FAILURE(expect_refused(*source, one));
}

TEST_P(MachineFit, OtherDisksAreRefusedByName) {
  ASSIGN_OR_SKIP(source, TestQemu::start(options(Machine{})));
  for (const auto& one : disk_cases()) ASSERT_NO_FATAL_FAILURE(expect_refused(*source, one));
}

/// `change` is of the sink's machine; the guest works there afterwards.
void expect_moved(const QemuOptions& source, const QemuOptions& sink, const GodwitOptions& receive = {}) {
  const auto with_guest = [](QemuOptions o) {
    o.size = 128 * kMiB;
    o.guest = guest_image();
    o.guest_line = quiet_vm().guest_line;
    return o;
  };
  ASSIGN_OR_SKIP(scene, Scene::make(with_guest(source), with_guest(sink)));
  ASSERT_OK(scene->receive(receive));
  ASSERT_OK(scene->send());
  ASSERT_OK(scene->expect_moved());
}

TEST_P(MachineFit, OtherBackendsAreMoved) {
  Machine machine;
  machine.netdev = "user,id=n7";
  machine.net.replace(machine.net.find("netdev=n0"), 9, "netdev=n7");
  std::filesystem::create_symlink(folder_.path() / "system.img", folder_.path() / "another-path.img");
  machine.first_image = "another-path.img";
  machine.drive_options = ",cache=directsync,aio=threads";
  machine.more = {"-vnc", "unix:" + (folder_.path() / "vnc").string()};
  auto sink = options(machine);
  sink.ram = Ram::kPrivate;
  Machine source;
  source.netdev = "socket,id=n0,udp=127.0.0.1:9,localaddr=127.0.0.1:0";
  expect_moved(options(source), sink);
}

/// An overlay that both sides open, on a base that is another file at the sink.
TEST_P(MachineFit, OverlaysAreComparedDownToTheirBase) {
  const auto at = [&](const char* name) { return (folder_.path() / name).string(); };
  write_image(at("other.img"), 8 * kMiB, 'o');
  {
    // QEMU itself makes the overlay.
    ASSIGN_OR_SKIP(maker, TestQemu::start(options(Machine{})));
    ASSERT_OK(
        maker->monitor().execute("blockdev-snapshot-sync", {{"device", "d0"}, {"snapshot-file", at("over.qcow2")}}));
  }
  const auto with_base = [&](const std::string& base) {
    Machine machine;
    machine.first = "virtio-blk-pci,id=system,drive=o0,addr=05.0,serial=s0";
    machine.first_image = "copy.img";  // of a drive that no device uses: it would lock the base
    machine.more = {"-blockdev", "driver=file,node-name=of,filename=" + at("over.qcow2"),
                    "-blockdev", "driver=file,node-name=bf,read-only=on,filename=" + base,
                    "-blockdev", "driver=raw,node-name=b0,read-only=on,file=bf",
                    "-blockdev", "driver=qcow2,node-name=o0,file=of,backing=b0"};
    return machine;
  };
  ASSIGN_OR_SKIP(source, TestQemu::start(options(with_base(at("system.img")))));
  ASSERT_NO_FATAL_FAILURE(expect_refused(
      *source, {"another base",
                [&](Machine& m) { m = with_base(at("other.img")); },
                {"backing image 1 of 1 of disk 'system' at PCI 05.0", "system.img", "other.img", "--any-disks"}}));
}

/// A server that is gone: whoever asks for a file there waits for ever. Both QEMUs have had theirs open before, and for
/// reading only: one that may write is opened again by QEMU itself when it gives the disk up, which is waited for.
TEST_P(MachineFit, SilentStorageIsNamedAndRefusesNothing) {
  const auto with_guest = [&](bool incoming) {
    Machine machine;
    machine.drive_options = ",cache=none,readonly=on";
    QemuOptions o = options(machine);
    o.size = 128 * kMiB;
    o.guest = guest_image();
    o.guest_line = quiet_vm().guest_line;
    o.incoming = incoming;
    return o;
  };
  ASSIGN_OR_SKIP(source, TestQemu::start(with_guest(false)));
  ASSIGN_OR_SKIP(sink, TestQemu::start(with_guest(true)));
  UniqueFd fuse(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
  const auto served = fmt::format("fd={},rootmode=40000,user_id=0,group_id=0", fuse.get());
  if (!fuse || ::mount("dead", folder_.path().c_str(), "fuse", 0, served.c_str()) != 0) {
    GTEST_SKIP() << "no FUSE file system can be mounted here";
  }
  // The images are out of reach; the guests and their QEMUs need them no more than they have them.
  const auto moved = [&]() -> Status {
    const auto receiver = TRY(start_receive(*sink));
    const std::string address = TRY(receiver->listening_at(seconds(60)));
    const auto sender = TRY(start_send(*source, address));
    const auto sent = TRY(sender->wait(seconds(120)));
    const auto received = TRY(receiver->wait(seconds(120)));
    for (const auto& text : {sender->errors(), receiver->errors()}) {
      if (!says(text, "disk 'system' at PCI 05.0: whether it is the same disk on both sides cannot be told") ||
          !says(text, "does not answer")) {
        return fail(ErrorKind::kProtocol, "no warning in: " + text);
      }
    }
    if (sent.code == 0 && received.code == 0) return {};
    return fail(ErrorKind::kProtocol, sender->errors() + receiver->errors());
  }();
  fuse.reset();
  ::umount2(folder_.path().c_str(), MNT_DETACH);
  ASSERT_OK(moved);
  EXPECT_EQ(sink->status().value_or("gone"), "running");
}

TEST_P(MachineFit, AnyVmAndAnyDisksAreTaken) {
  Machine machine;
  machine.name = "db";
  machine.first_image = "copy.img";
  GodwitOptions any;
  any.arguments = {"--any-vm", "--any-disks"};
  expect_moved(options(Machine{}), options(machine), any);
}

/// The bit of hyper-threading is listed by one version and not by the other; the guest sees the same.
TEST_P(MachineFit, AnotherVersionIsMoved) {
  const auto other = GetParam() == QemuVersion::k7_2 ? QemuVersion::k10_0 : QemuVersion::k7_2;
  if (const auto program = find_qemu(other); !program) GTEST_SKIP() << program.error().message;
  expect_moved(options(Machine{}), Machine{}.options(other, folder_.path()));
}

/// Under TCG there is only one width, and not every KVM runs a guest: so the two are only looked at.
TEST_P(MachineFit, PhysicalAddressesOfAnotherWidthDiffer) {
  QemuOptions options;
  options.version = GetParam();
  options.size = 32 * kMiB;
  options.kvm = true;
  options.more = {"-S"};
  ASSIGN_OR_SKIP(source, TestQemu::start(options));
  options.cpu_model = "qemu64,phys-bits=36";
  ASSIGN_OR_SKIP(sink, TestQemu::start(options));
  const SteadyClock clock;
  ASSIGN_OR_FAIL(here, qemu::attach(source->qmp_path().string(), 0, clock));
  ASSIGN_OR_FAIL(there, qemu::attach(sink->qmp_path().string(), 0, clock));
  std::string all;
  for (const auto& one : differences(here.inspection.fingerprint, there.inspection.fingerprint)) all += one + "\n";
  EXPECT_TRUE(says(all, "40 bits (phys-bits) at the source, 36 at the sink")) << all;
}

INSTANTIATE_TEST_SUITE_P(Qemu, MachineFit, ::testing::Values(QemuVersion::k7_2, QemuVersion::k10_0),
                         [](const auto& each) { return each.param == QemuVersion::k7_2 ? "v7_2" : "v10_0"; });

}  // namespace
}  // namespace godwit::testing
