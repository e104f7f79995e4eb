// What is found out about real QEMUs, on every version that is here.
#include "vmm/qemu/inspection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <fstream>
#include <optional>
#include <thread>

#include "attach/remote_memory.h"
#include "tests/support/qemu_vm.h"
#include "vmm/qemu/disk_queues.h"
#include "vmm/qemu/qemu_vm.h"
#include "vmm/qemu/ram_block_list.h"
#include "vmm/qemu/ram_blocks.h"

namespace godwit::qemu::inspection_test {
namespace {

using godwit::testing::QemuOptions;
using godwit::testing::QemuVersion;
using godwit::testing::TestQemu;
using ::testing::HasSubstr;

/// A monitor whose socket belongs to somebody else than QEMU.
class ThroughAManager final : public Qmp {
 public:
  ThroughAManager(Qmp& qmp, pid_t peer, bool passes_descriptors)
      : qmp_(qmp), peer_(peer), passes_descriptors_(passes_descriptors) {}
  Result<Json> execute(std::string_view command, const Json& arguments) override {
    return qmp_.execute(command, arguments);
  }
  Result<Json> execute_with_descriptor(std::string_view command, const Json& arguments, int fd) override {
    if (!passes_descriptors_) return fail(ErrorKind::kHypervisor, "No file descriptor supplied via SCM_RIGHTS");
    return qmp_.execute_with_descriptor(command, arguments, fd);
  }
  void on_event(OnEvent handler) override { qmp_.on_event(std::move(handler)); }
  void on_lost(std::function<void()> handler) override { qmp_.on_lost(std::move(handler)); }
  pid_t peer_pid() const noexcept override { return peer_; }

 private:
  Qmp& qmp_;
  pid_t peer_;
  bool passes_descriptors_;
};

class InspectionTest : public ::testing::TestWithParam<QemuVersion> {
 protected:
  void SetUp() override {
    const auto program = godwit::testing::find_qemu(GetParam());
    if (!program) GTEST_SKIP() << program.error().message;
    options_.version = GetParam();
    options_.size = 64 * kMiB;
  }

  /// Starts a QEMU and attaches to it.
  void attach_to(const QemuOptions& options) {
    auto qemu = TestQemu::start(options);
    ASSERT_TRUE(qemu) << qemu.error().message;
    qemu_ = std::move(*qemu);
    auto vm = attach(qemu_->qmp_path().string(), 0, clock_);
    ASSERT_TRUE(vm) << vm.error().message;
    vm_ = std::move(*vm);
  }

  /// Every block lies where the test's own question to QEMU says, and can be read there.
  void expect_blocks(Backing backing) {
    const auto& found = vm_->inspection.blocks;
    ASSERT_EQ(found.size(), qemu_->blocks().size());
    for (std::size_t i = 0; i < found.size(); ++i) {
      EXPECT_EQ(found[i].name, qemu_->blocks()[i].name);
      EXPECT_EQ(found[i].size, qemu_->blocks()[i].size);
      EXPECT_EQ(found[i].address, qemu_->blocks()[i].address);
      EXPECT_EQ(found[i].backing, backing);
    }
    auto memory = open_memory(*vm_->process, found);
    ASSERT_TRUE(memory) << memory.error().message;
    ASSERT_EQ((*memory)->layout().blocks().size(), found.size());
    // The interrupt vectors of real mode, which SeaBIOS has set up when its own banner has been there for a while.
    ASSERT_TRUE(qemu_->stop());
    std::array<std::byte, kPageSize> page{};
    std::array<std::byte, kPageSize> wanted{};
    ASSERT_TRUE((*memory)->read(ChunkIndex{0}, 1, page));
    ASSERT_TRUE(qemu_->read_physical(0, wanted.data(), wanted.size()));
    EXPECT_EQ(page, wanted);
    // What is written through it, the guest has.
    for (std::size_t i = 0; i < found.size(); ++i) {
      const auto chunk = (*memory)->layout().chunk_at(i, 2 * kMiB);
      std::memset(page.data(), static_cast<int>('A' + i), page.size());
      ASSERT_TRUE((*memory)->write(chunk, 1, page));
      ASSERT_TRUE(qemu_->read_physical(qemu_->blocks()[i].physical + 2 * kMiB, wanted.data(), wanted.size()));
      EXPECT_EQ(page, wanted);
    }
  }

  QemuOptions options_;
  SteadyClock clock_;
  std::unique_ptr<TestQemu> qemu_;
  std::optional<QemuVm> vm_;
};

/// 8.0 and newer say where blocks lie: what is found in their memory is the same.
TEST_P(InspectionTest, FindsEveryBlockThatQemuMigrates) {
  options_.more = {"-vga", "std", "-device", "virtio-net-pci"};
  ASSERT_NO_FATAL_FAILURE(attach_to(options_));
  const auto& other = vm_->inspection.other;
  ASSERT_FALSE(other.missing) << *other.missing;
  auto lines = parse_ram_blocks(vm_->qmp->human("info ramblock").value());
  std::erase_if(lines, [](const auto& line) { return line.size == 0; });
  EXPECT_EQ(other.blocks.size() + vm_->inspection.blocks.size(), lines.size());
  EXPECT_GE(other.blocks.size(), 5u);
  const auto& main = vm_->inspection.blocks.front();
  const auto find = [&] {
    return find_block_list(
        [&](std::uint64_t address, MutableBytes out) { return read_remote(*vm_->process, address, out); },
        vm_->process->mappings().value(), lines, main.name, main.address);
  };
  auto list = find();
  // Its heap may shrink just then: it runs.
  for (int again = 0; !list && again < 20; ++again) list = find();
  ASSERT_TRUE(list) << list.error().message;
  for (const auto& line : lines) {
    EXPECT_EQ(list->at(line.name), line.host_address.value_or(list->at(line.name))) << line.name;
  }
  for (const auto& block : other.blocks) EXPECT_EQ(list->at(block.name), block.address) << block.name;
}

TEST_P(InspectionTest, DefaultRam) {
  options_.ram = godwit::testing::Ram::kPrivate;
  options_.more = {"-name", "guest=web,process=x", "-uuid", "12345678-1234-1234-1234-123456789abc", "-S"};
  ASSERT_NO_FATAL_FAILURE(attach_to(options_));
  const auto& found = vm_->inspection;
  EXPECT_EQ(found.fingerprint.hypervisor, "qemu");
  EXPECT_THAT(found.fingerprint.version, HasSubstr(GetParam() == QemuVersion::k7_2 ? "7.2." : "10.0."));
  EXPECT_EQ(found.fingerprint.machine, "pc-i440fx-7.2");
  EXPECT_EQ(found.fingerprint.accelerator, "tcg");
  EXPECT_EQ(found.fingerprint.cpu_model, "qemu64-x86_64-cpu");
  EXPECT_EQ(found.fingerprint.cpus, 1u);
  EXPECT_EQ(found.fingerprint.vm_name, "web");
  EXPECT_EQ(found.uuid, "12345678-1234-1234-1234-123456789abc");
  EXPECT_EQ(found.status, "prelaunch");
  EXPECT_EQ(found.migration_status, "none");
  // Bit 0 of leaf 1 edx: an x87 unit, which every x86-64 CPU has.
  ASSERT_TRUE(found.fingerprint.cpu_features.contains("cpuid 0x1 EDX"));
  EXPECT_NE(std::stoull(found.fingerprint.cpu_features.at("cpuid 0x1 EDX"), nullptr, 16) & 1, 0u);
  EXPECT_TRUE(found.obstacles.empty());
  EXPECT_TRUE(found.direct_disks.empty());
  ASSERT_EQ(found.fingerprint.blocks.size(), 1u);
  EXPECT_EQ(found.fingerprint.blocks[0].name, "pc.ram");
  EXPECT_EQ(found.fingerprint.blocks[0].size, 64 * kMiB);
  EXPECT_EQ(found.fingerprint.blocks[0].page_size, 4096u);
  EXPECT_EQ(vm_->process->pid(), qemu_->pid());
  expect_blocks(Backing::kPrivate);
}

TEST_P(InspectionTest, MemfdRam) {
  options_.ram = godwit::testing::Ram::kMemfd;
  ASSERT_NO_FATAL_FAILURE(attach_to(options_));
  expect_blocks(Backing::kMemfd);
}

TEST_P(InspectionTest, FileRam) {
  options_.ram = godwit::testing::Ram::kFile;
  ASSERT_NO_FATAL_FAILURE(attach_to(options_));
  expect_blocks(Backing::kFile);
  EXPECT_THAT(vm_->inspection.blocks[0].mapping.path, HasSubstr("/dev/shm/"));
}

TEST_P(InspectionTest, HugePages) {
  auto pages = godwit::testing::HugePages::allow(40);
  if (!pages) GTEST_SKIP() << pages.error().message;
  options_.ram = godwit::testing::Ram::kHugetlbfs;
  ASSERT_NO_FATAL_FAILURE(attach_to(options_));
  EXPECT_EQ(vm_->inspection.blocks.at(0).page_size, 2 * kMiB);
  expect_blocks(Backing::kFile);
}

TEST_P(InspectionTest, TwoNodes) {
  options_.ram = godwit::testing::Ram::kFile;
  options_.nodes = 2;
  options_.cpus = 2;
  ASSERT_NO_FATAL_FAILURE(attach_to(options_));
  EXPECT_EQ(vm_->inspection.fingerprint.cpus, 2u);
  expect_blocks(Backing::kFile);
  // The second node follows the first without a hole at this size.
  const auto& physical = vm_->inspection.physical;
  EXPECT_EQ(physical.back().block, "ram1");
  EXPECT_EQ(physical.back().address, 32 * kMiB);
}

TEST_P(InspectionTest, RamAboveTheHole) {
  options_.ram = godwit::testing::Ram::kFile;
  options_.size = 5 * kGiB;  // sparse: the guest touches a few MiB
  ASSERT_NO_FATAL_FAILURE(attach_to(options_));
  expect_blocks(Backing::kFile);
  const auto& last = vm_->inspection.physical.back();
  EXPECT_EQ(last.address, 4 * kGiB);
  EXPECT_EQ(last.offset + last.length, 5 * kGiB);
}

TEST_P(InspectionTest, ANodeThatStraddlesTheHole) {
  options_.ram = godwit::testing::Ram::kMemfd;
  options_.size = 8 * kGiB;
  options_.nodes = 2;
  options_.cpus = 2;
  options_.more = {"-S"};
  auto qemu = TestQemu::start(options_);
  ASSERT_TRUE(qemu) << qemu.error().message;
  auto vm = attach((*qemu)->qmp_path().string(), 0, clock_);
  ASSERT_TRUE(vm) << vm.error().message;
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  for (const auto& stretch : vm->inspection.physical) {
    if (stretch.block != "ram0") continue;
    (stretch.address < 4 * kGiB ? low : high) += stretch.length;
  }
  EXPECT_GT(low, 2 * kGiB);
  EXPECT_GT(high, 0u);
  ASSERT_EQ(vm->inspection.blocks.size(), 2u);
  EXPECT_EQ(vm->inspection.blocks[0].name, "ram0");
  EXPECT_EQ(vm->inspection.blocks[0].size, 4 * kGiB);
}

TEST_P(InspectionTest, UnderKvm) {
  options_.kvm = true;
  options_.more = {"-S"};
  auto qemu = TestQemu::start(options_);
  if (!qemu && qemu.error().kind == ErrorKind::kNotFound) GTEST_SKIP() << qemu.error().message;
  ASSERT_TRUE(qemu) << qemu.error().message;
  auto vm = attach((*qemu)->qmp_path().string(), 0, clock_);
  ASSERT_TRUE(vm) << vm.error().message;
  EXPECT_EQ(vm->inspection.fingerprint.accelerator, "kvm");
  EXPECT_FALSE(vm->inspection.physical.empty());
}

// Set by old machine types and by libvirt for VMs that come from them.
TEST_P(InspectionTest, BlocksNamedByTheirPath) {
  options_.ram = godwit::testing::Ram::kPrivate;
  options_.more = {"-object", "memory-backend-ram,id=mem0,size=64M,x-use-canonical-path-for-ramblock-id=on", "-machine",
                   "memory-backend=mem0", "-S"};
  ASSERT_NO_FATAL_FAILURE(attach_to(options_));
  ASSERT_EQ(vm_->inspection.blocks.size(), 1u);
  EXPECT_EQ(vm_->inspection.blocks[0].name, "/objects/mem0");
  EXPECT_EQ(vm_->inspection.physical[0].block, "/objects/mem0");
}

TEST_P(InspectionTest, WaitingForAVm) {
  options_.incoming = true;
  ASSERT_NO_FATAL_FAILURE(attach_to(options_));
  EXPECT_EQ(vm_->inspection.status, "inmigrate");
  EXPECT_TRUE(vm_->inspection.obstacles.empty());
}

TEST_P(InspectionTest, DirectDisksAndTheirQueues) {
  const auto folder = godwit::testing::TempFolder::make("/tmp");
  ASSERT_TRUE(folder);
  const auto image = folder->path() / "disk";
  { std::ofstream(image) << std::string(1 << 20, '\0'); }
  const std::string file = "file=" + image.string() + ",format=raw,if=none,readonly=on,file.locking=off,";
  options_.more = {"-drive",  file + "id=a,cache=none",          "-device", "virtio-blk-pci,drive=a,id=vb",
                   "-drive",  file + "id=b,cache=none",          "-device", "virtio-scsi-pci,id=vs",
                   "-device", "scsi-hd,drive=b,bus=vs.0",        "-drive",  file + "id=c,cache=writeback",
                   "-device", "virtio-blk-pci,drive=c,id=cached"};
  ASSERT_NO_FATAL_FAILURE(attach_to(options_));
  const auto& disks = vm_->inspection.direct_disks;
  ASSERT_GE(disks.size(), 2u);
  EXPECT_EQ(disks[0].device, "a");
  EXPECT_THAT(disks[0].controller_path, HasSubstr("/vb/"));
  EXPECT_TRUE(disks[0].readable_rings);
  EXPECT_EQ(disks[1].device, "b");
  EXPECT_THAT(disks[1].controller_path, HasSubstr("/vs/"));
  EXPECT_TRUE(disks[1].readable_rings);
  // SeaBIOS brings the disks' queues up while it looks for something to boot.
  Result<std::vector<VirtqueueAddresses>> queues;
  for (int i = 0; i < 500; ++i) {
    queues = list_disk_queues(*vm_->qmp, vm_->inspection);
    ASSERT_TRUE(queues) << queues.error().message;
    if (queues->size() >= 2) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  ASSERT_GE(queues->size(), 2u);
  for (const auto& queue : *queues) {
    EXPECT_LT(queue.descriptors, options_.size);
    EXPECT_LT(queue.used, options_.size);
    EXPECT_GT(queue.size, 0u);
  }
}

TEST_P(InspectionTest, ObstaclesOfARealVm) {
  options_.ram = godwit::testing::Ram::kFile;
  options_.more = {"-object", "memory-backend-ram,id=shm0,size=1M,share=on", "-device", "ivshmem-plain,memdev=shm0",
                   "-S"};
  ASSERT_NO_FATAL_FAILURE(attach_to(options_));
  std::string all;
  for (const auto& obstacle : vm_->inspection.obstacles) all += obstacle.what + "\n";
  EXPECT_THAT(all, HasSubstr("ivshmem-plain device"));
  EXPECT_THAT(all, HasSubstr("QEMU will not migrate it"));
}

// Two VMs on one file: each writes the other's memory.
TEST_P(InspectionTest, AnotherProcessMapsTheRam) {
  options_.ram = godwit::testing::Ram::kFile;
  ASSERT_NO_FATAL_FAILURE(attach_to(options_));
  EXPECT_TRUE(vm_->inspection.obstacles.empty());
  QemuOptions other = options_;
  other.ram = godwit::testing::Ram::kPrivate;
  const auto path = vm_->inspection.blocks.at(0).mapping.path;
  other.more = {"-object", "memory-backend-file,id=x,size=64M,share=on,mem-path=" + path, "-S"};
  auto second = TestQemu::start(other);
  ASSERT_TRUE(second) << second.error().message;
  const auto again = inspect(*vm_->qmp, *vm_->process);
  ASSERT_TRUE(again) << again.error().message;
  ASSERT_EQ(again->obstacles.size(), 1u);
  EXPECT_THAT(again->obstacles[0].what, HasSubstr("RAM block 'pc.ram'"));
  EXPECT_THAT(again->obstacles[0].what, HasSubstr(std::to_string((*second)->pid())));
}

TEST_P(InspectionTest, AProcessThatIsNotThisQemu) {
  options_.ram = godwit::testing::Ram::kPrivate;
  ASSERT_NO_FATAL_FAILURE(attach_to(options_));
  const auto other = find_process(*vm_->qmp, ::getpid());
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().kind, ErrorKind::kNotFound);
  EXPECT_THAT(other.error().message, HasSubstr("is not the QEMU behind this monitor"));
}

INSTANTIATE_TEST_SUITE_P(Qemu, InspectionTest, ::testing::Values(QemuVersion::k7_2, QemuVersion::k10_0),
                         [](const auto& each) { return each.param == QemuVersion::k7_2 ? "v7_2" : "v10_0"; });

TEST_P(InspectionTest, QemuIsFoundBehindAManager) {
  ASSERT_NO_FATAL_FAILURE(attach_to(options_));
  // No number at all (another PID namespace), and the manager's: us.
  for (const pid_t peer : {pid_t{0}, ::getpid()}) {
    for (const bool passes_descriptors : {true, false}) {
      ThroughAManager monitor(*vm_->qmp, peer, passes_descriptors);
      const auto found = find_process(monitor, 0);
      ASSERT_TRUE(found) << found.error().message;
      EXPECT_EQ(found->pid(), qemu_->pid());
      // Named by hand, it is not looked for.
      EXPECT_FALSE(find_process(monitor, ::getpid()));
    }
  }
}

}  // namespace
}  // namespace godwit::qemu::inspection_test
