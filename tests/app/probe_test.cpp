#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "app/probe_findings.h"
#include "app/probe_json.h"
#include "app/probe_text.h"
#include "base/units.h"

namespace godwit::probe_test {
namespace {

HostProfile able_host() {
  HostProfile host;
  host.kernel_release = "6.18.1";
  host.kernel_major = 6;
  host.kernel_minor = 18;
  host.cpu_model = "Made Up CPU";
  host.cpus = 8;
  host.numa_nodes = 2;
  host.memory_bytes = 64 * kGiB;
  host.avx2 = host.avx512 = host.kvm = true;
  host.pagemap_scan = host.uffd_wp_async = host.uffd_kernel_faults = host.process_vm = host.pidfd_getfd = true;
  host.lsm_ptrace_scope = "1";
  return host;
}

HostProfile old_host() {
  HostProfile host = able_host();
  host.kernel_release = "5.10.0";
  host.pagemap_scan = host.uffd_wp_async = false;
  return host;
}

qemu::BlockInfo block(const char* name, qemu::Backing backing) {
  qemu::BlockInfo info;
  info.name = name;
  info.size = kGiB;
  info.page_size = 4096;
  info.backing = backing;
  info.mapping.path = "/dev/shm/vm1";
  return info;
}

qemu::Inspection running_vm() {
  qemu::Inspection vm;
  vm.fingerprint.vm_name = "vm1";
  vm.fingerprint.version = "7.2.22";
  vm.fingerprint.machine = "pc-i440fx-7.2";
  vm.fingerprint.accelerator = "kvm";
  vm.fingerprint.cpu_model = "qemu64-x86_64-cpu";
  vm.fingerprint.cpus = 2;
  vm.status = "running";
  vm.blocks = {block("ram0", qemu::Backing::kFile), block("ram1", qemu::Backing::kMemfd),
               block("pc.ram", qemu::Backing::kPrivate)};
  vm.direct_disks = {{"virtio0", "/machine/peripheral/d0/virtio-backend", true}, {"ide0-hd0", "", false}};
  return vm;
}

Findings findings_of(const HostProfile& host, const qemu::Inspection& vm, bool moved_away = false) {
  Findings findings;
  findings.host = host;
  findings.lacks = lacks_of(host);
  findings.vm = VmFindings{4711, vm, DeviceWay::kStream, {}, {}, judge(host, vm, moved_away)};
  return findings;
}

bool any_contains(const std::vector<std::string>& texts, std::string_view part) {
  return std::any_of(texts.begin(), texts.end(),
                     [&](const std::string& t) { return t.find(part) != std::string::npos; });
}

void expect_contains(const std::string& text, std::string_view part) {
  EXPECT_NE(text.find(part), std::string::npos) << "no '" << part << "' in:\n" << text;
}

TEST(Lacks, AreNoneOnAnAbleHost) {
  EXPECT_TRUE(lacks_of(able_host()).empty());
}

TEST(Lacks, NameEachFeatureAndItsCost) {
  const auto lacks = [](auto change) {
    HostProfile host = able_host();
    change(host);
    return lacks_of(host);
  };
  const auto expect_one = [](const std::vector<Lack>& found, std::string_view feature, std::string_view cost) {
    ASSERT_EQ(found.size(), 1U) << feature;
    expect_contains(found[0].feature, feature);
    expect_contains(found[0].cost, cost);
  };
  expect_one(lacks([](auto& h) { h.pagemap_scan = false; }), "Linux 6.7", "it can receive");
  expect_one(lacks([](auto& h) { h.uffd_wp_async = false; }), "Linux 6.7", "no VM can be moved away");
  expect_one(lacks([](auto& h) { h.process_vm = false; }), "process_vm_readv", "private RAM");
  expect_one(lacks([](auto& h) { h.pidfd_getfd = false; }), "pidfd_getfd", "no dirty tracking");
  expect_one(lacks([](auto& h) { h.lsm_ptrace_scope = "3"; }), "ptrace", "no dirty tracking");
  expect_one(lacks([](auto& h) { h.uffd_kernel_faults = false; }), "userfaultfd", "post-copy");
  expect_one(lacks([](auto& h) { h.kvm = false; }), "KVM", "TCG");
  expect_one(lacks([](auto& h) { h.avx2 = h.avx512 = false; }), "AVX2", "zero pages");
}

TEST(Verdict, LetsARunningVmMoveFromAnAbleHost) {
  const Verdict verdict = judge(able_host(), running_vm(), false);
  EXPECT_TRUE(verdict.can_be_moved);
  EXPECT_TRUE(verdict.reasons.empty());
  EXPECT_EQ(verdict.tracker, "asynchronous userfaultfd write-protect with PAGEMAP_SCAN");
}

TEST(Verdict, LetsAPausedVmMove) {
  for (const char* status : {"paused", "prelaunch"}) {
    qemu::Inspection paused = running_vm();
    paused.status = status;
    EXPECT_TRUE(judge(able_host(), paused, false).can_be_moved) << status;
  }
}

TEST(Verdict, SaysNoWithTheReason) {
  const Verdict old = judge(old_host(), running_vm(), false);
  EXPECT_FALSE(old.can_be_moved);
  EXPECT_EQ(old.tracker, "none");
  EXPECT_TRUE(any_contains(old.reasons, "5.10.0"));

  qemu::Inspection asleep = running_vm();
  asleep.status = "suspended";
  EXPECT_FALSE(judge(able_host(), asleep, false).can_be_moved);
  EXPECT_TRUE(any_contains(judge(able_host(), asleep, false).reasons, "suspended itself"));
  asleep.fingerprint.version = "10.0.3 (Debian 1:10.0.3)";
  EXPECT_TRUE(judge(able_host(), asleep, false).can_be_moved) << "this one keeps it suspended";

  qemu::Inspection disk_full = running_vm();
  disk_full.status = "io-error";
  EXPECT_TRUE(judge(able_host(), disk_full, false).can_be_moved);

  qemu::Inspection blocked = running_vm();
  blocked.obstacles = {{"vfio-pci device 'gpu'", "its DMA is not seen"}};
  EXPECT_FALSE(judge(able_host(), blocked, false).can_be_moved);
  EXPECT_TRUE(any_contains(judge(able_host(), blocked, false).reasons, "obstacle named above"));
  blocked.status = "watchdog";
  EXPECT_TRUE(any_contains(judge(able_host(), blocked, false).reasons, "obstacle named above"));
  EXPECT_TRUE(any_contains(judge(able_host(), blocked, false).reasons, "'watchdog'"));

  qemu::Inspection waiting = running_vm();
  waiting.status = "inmigrate";
  EXPECT_FALSE(judge(able_host(), waiting, false).can_be_moved);
  EXPECT_TRUE(any_contains(judge(able_host(), waiting, false).reasons, "godwit receive"));

  EXPECT_FALSE(judge(able_host(), running_vm(), true).can_be_moved);
  EXPECT_TRUE(any_contains(judge(able_host(), running_vm(), true).reasons, "never run here again"));
}

TEST(Verdict, NeverSaysNoWithoutAReason) {
  for (const HostProfile& host : {able_host(), old_host()}) {
    for (const char* status : {"running", "paused", "inmigrate", "postmigrate"}) {
      for (const bool blocked : {false, true}) {
        for (const bool moved : {false, true}) {
          qemu::Inspection vm = running_vm();
          vm.status = status;
          if (blocked) vm.obstacles = {{"a", "b"}, {"c", "d"}};
          const Verdict verdict = judge(host, vm, moved);
          EXPECT_EQ(verdict.can_be_moved, verdict.reasons.empty()) << status << blocked << moved;
        }
      }
    }
  }
}

TEST(ProbeText, ShowsHostAndVm) {
  const std::string text = probe_text(findings_of(able_host(), running_vm()));
  for (const char* part :
       {"6.18.1", "8 x Made Up CPU, AVX-512, 2 NUMA nodes", "64 GiB", "none: CPUs compress", "lacks         nothing",
        "vm1", "7.2.22, process 4711, kvm", "pc-i440fx-7.2", "2 x qemu64-x86_64-cpu",
        "ram0: 1 GiB in pages of 4 KiB, reached by a mapping of the same file, /dev/shm/vm1",
        "a mapping of QEMU's memfd", "pc.ram: 1 GiB in pages of 4 KiB, reached by process_vm_readv",
        "virtio0: its requests in flight are read", "ide0-hd0: its requests cannot be seen", "PAGEMAP_SCAN",
        "obstacles     none", "can be moved  yes"}) {
    expect_contains(text, part);
  }
}

TEST(ProbeText, ShowsObstaclesLacksAndNotes) {
  qemu::Inspection vm = running_vm();
  vm.obstacles = {{"vfio-pci device 'gpu'", "its DMA is not seen"}};
  Findings findings = findings_of(old_host(), vm);
  findings.vm->notes = {"a godwit died while it moved this VM"};
  const std::string text = probe_text(findings);
  for (const char* part : {"Linux 6.7): no VM can be moved away", "vfio-pci device 'gpu': its DMA is not seen",
                           "left behind   a godwit died", "can be moved  no", "the obstacle named above"}) {
    expect_contains(text, part);
  }
}

TEST(ProbeText, KeepsAHostileNameOffTheTerminal) {
  qemu::Inspection vm = running_vm();
  vm.fingerprint.vm_name = "vm\x1b[2J\nx";
  EXPECT_EQ(probe_text(findings_of(able_host(), vm)).find('\x1b'), std::string::npos);
}

TEST(ProbeJson, CanBeReadBack) {
  qemu::Inspection vm = running_vm();
  vm.obstacles = {{"what it is \xff", "why it is"}};
  const auto json = nlohmann::json::parse(probe_json(findings_of(old_host(), vm)));
  EXPECT_EQ(json.at("host").at("kernel_release"), "5.10.0");
  EXPECT_EQ(json.at("host").at("avx512"), true);
  EXPECT_EQ(json.at("host").at("pagemap_scan"), false);
  EXPECT_EQ(json.at("host").at("memory_bytes"), 64 * kGiB);
  EXPECT_EQ(json.at("host").size(), 21U) << "a field that this test does not know";
  EXPECT_EQ(json.at("lacks").size(), 1U);
  const auto& found = json.at("vm");
  EXPECT_EQ(found.at("pid"), 4711);
  EXPECT_EQ(found.at("status"), "running");
  EXPECT_EQ(found.at("blocks").size(), 3U);
  EXPECT_EQ(found.at("blocks").at(1).at("backing"), "memfd");
  EXPECT_EQ(found.at("direct_disks").at(0).at("device"), "virtio0");
  EXPECT_EQ(found.at("obstacles").at(0).at("why"), "why it is");
  EXPECT_EQ(found.at("tracker"), "none");
  EXPECT_EQ(found.at("devices"), "stream");
  EXPECT_EQ(found.at("why_stream"), "");
  EXPECT_EQ(found.at("can_be_moved"), false);
  EXPECT_EQ(found.at("reasons").size(), 2U);
}

TEST(ProbeText, SaysWhatIsToBeDoneWithAnAccelerator) {
  Findings findings;
  findings.host = able_host();
  findings.host.accelerator_devices = {
      {.name = "iaa iax1", .driver = "idxd", .numa_node = 1, .state = "disabled", .to_do = {"accel-config enable-it"}}};
  findings.accelerators_tried = {"--codec iaa does not work: no work queue"};
  const std::string text = probe_text(findings);
  for (const char* part : {"iaa iax1: idxd, node 1, disabled", "to do: accel-config enable-it",
                           "--codec iaa does not work: no work queue"}) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  }
  const auto json = nlohmann::json::parse(probe_json(findings));
  EXPECT_EQ(json.at("host").at("accelerator_devices").at(0).at("numa_node"), 1);
  EXPECT_EQ(json.at("accelerators_tried").size(), 1U);
}

TEST(ProbeText, ListsMovesBySshThatHaveEndedHere) {
  Findings findings;
  findings.host = able_host();
  EXPECT_EQ(probe_text(findings).find("moves by ssh"), std::string::npos);
  findings.moves_by_ssh.push_back({.file = "/run/godwit/move-3f2a.json",
                                   .id = "3f2a",
                                   .vm_name = "vm1\x1b[2J",
                                   .outcome = "in-doubt",
                                   .error = "no answer",
                                   .written = 1'800'000'000});
  for (int i = 0; i < 9; ++i) findings.moves_by_ssh.push_back({"f", "0", "", "done", "", 0});
  const std::string text = probe_text(findings);
  expect_contains(text,
                  "moves by ssh  vm1?[2J, move 3f2a, 2027-01-15 08:00 UTC: in-doubt, no answer "
                  "(/run/godwit/move-3f2a.json)\n");
  expect_contains(text, "?, move 0, 1970-01-01 00:00 UTC: done (f)\n");
  expect_contains(text, "and 2 before these; --json has all\n");
  const auto json = nlohmann::json::parse(probe_json(findings));
  ASSERT_EQ(json.at("moves_by_ssh").size(), 10U);
  EXPECT_EQ(json.at("moves_by_ssh").at(0).at("outcome"), "in-doubt");
  EXPECT_EQ(json.at("moves_by_ssh").at(0).at("written"), 1'800'000'000);
}

TEST(ProbeJson, HasNoVmWhereNoneWasAskedFor) {
  Findings findings;
  findings.host = able_host();
  const auto json = nlohmann::json::parse(probe_json(findings));
  EXPECT_FALSE(json.contains("vm"));
  EXPECT_TRUE(json.at("lacks").is_array());
}

}  // namespace
}  // namespace godwit::probe_test
