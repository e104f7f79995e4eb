// Writers that no page table sees: named under KVM only, where they are.
#include "vmm/qemu/unseen_writers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <utility>

#include "tests/vmm/scripted_qmp.h"

namespace godwit::qemu::unseen_writers_test {
namespace {

using godwit::testing::ScriptedQmp;
using ::testing::HasSubstr;

constexpr const char* kRegisters = "human-monitor-command command-line=info registers -a";
constexpr const char* kVmxOn = "CPU#0\r\nCR0=80050033 CR2=0 CR3=24b2000 CR4=003726f0\r\n";
constexpr const char* kVmxOff = "CPU#0\r\nCR0=80050033 CR2=0 CR3=24b2000 CR4=000006b0\r\n";

Result<std::vector<Obstacle>> look(ScriptedQmp& qmp, Inspection& inspection) {
  const auto self = RemoteProcess::open(::getpid());
  if (!self) return fail(Error(self.error()));
  return find_unseen_writers(qmp, *self, inspection);
}

Result<std::vector<Obstacle>> look(const char* registers, const char* accelerator) {
  ScriptedQmp qmp;
  if (registers != nullptr) qmp.set(kRegisters, registers);
  qmp.set_text("query-cpus-fast", R"([{"qom-path": "/cpu0"}])");
  Inspection inspection;
  inspection.fingerprint.accelerator = accelerator;
  return look(qmp, inspection);
}

/// A guest on two vCPUs, and what QEMU passes on of KVM's counters.
struct NestingGuest {
  const char* stats;
  const char* enlightened = "false";
  bool allowed = false;
  bool vmx_on = true;
  const char* has_vmx = "true";
};

std::unique_ptr<ScriptedQmp> play(const NestingGuest& guest) {
  auto qmp = std::make_unique<ScriptedQmp>();
  const std::string cr4 = guest.vmx_on ? "CR4=003726f0\r\n" : "CR4=000006b0\r\n";
  const std::string others = "CR0=80050033 CR2=0 CR3=24b2000 ";
  qmp->set(kRegisters, "CPU#0\r\n" + others + cr4 + "CPU#1\r\n" + others + cr4);
  qmp->set_text("query-cpus-fast", R"([{"qom-path": "/cpu0"}, {"qom-path": "/cpu1"}])");
  if (guest.enlightened != nullptr) qmp->set_text("qom-get path=/cpu0 property=hv-evmcs", guest.enlightened);
  if (guest.has_vmx != nullptr) qmp->set_text("qom-get path=/cpu0 property=vmx", guest.has_vmx);
  if (guest.stats != nullptr) qmp->set_text("query-stats", guest.stats);
  return qmp;
}

/// Whether it is refused, and whether it is to be looked at again.
std::pair<bool, bool> judge(const NestingGuest& guest) {
  const auto qmp = play(guest);
  Inspection inspection;
  inspection.fingerprint.accelerator = "kvm";
  inspection.allow_nested = guest.allowed;
  const auto found = look(*qmp, inspection);
  EXPECT_TRUE(found) << found.error().message;
  return {found && !found->empty(), inspection.nested_entries.has_value()};
}

std::string counted(const char* first, const char* second) {
  return std::string(R"([{"provider": "kvm", "qom-path": "/cpu0", "stats": )") + first +
         R"(}, {"provider": "kvm", "qom-path": "/cpu1", "stats": )" + second + "}]";
}

constexpr const char* kNone = R"([{"name": "guest_mode", "value": false}, {"name": "nested_run", "value": 0}])";
constexpr const char* kHasRun = R"([{"name": "guest_mode", "value": false}, {"name": "nested_run", "value": 7}])";
constexpr const char* kHasRunMore = R"([{"name": "guest_mode", "value": false}, {"name": "nested_run", "value": 8}])";
constexpr const char* kIsIn = R"([{"name": "guest_mode", "value": true}, {"name": "nested_run", "value": 0}])";
constexpr const char* kHalf = R"([{"name": "nested_run", "value": 0}])";

TEST(UnseenWriters, VmsInsideTheGuest) {
  const auto found = look(kVmxOn, "kvm");
  ASSERT_TRUE(found) << found.error().message;
  ASSERT_EQ(found->size(), 1u);
  EXPECT_THAT(found->front().what, HasSubstr("VMs inside the guest"));
  EXPECT_TRUE(look(kVmxOff, "kvm")->empty());
}

/// Since Linux 6.12 a guest has VMX on as soon as its kvm_intel is loaded: only one that has run VMs is refused.
TEST(UnseenWriters, AGuestThatHasRunNoVmsIsLetPassAndWatched) {
  constexpr const char* kNoneCounted = R"([{"name": "nested_run", "value": 0}, {"name": "guest_mode", "value": 0}])";
  using Pair = std::pair<bool, bool>;
  const Pair refused{true, false}, watched{false, true}, passed{false, false};
  EXPECT_EQ(judge({counted(kNone, kNone).c_str()}), watched);
  EXPECT_EQ(judge({counted(kNoneCounted, kNone).c_str()}), watched);
  EXPECT_EQ(judge({counted(kNone, kHasRun).c_str()}), refused);
  EXPECT_EQ(judge({counted(kNone, kIsIn).c_str()}), refused) << "one that came with a migration was not counted here";
  EXPECT_EQ(judge({counted(kNone, kHalf).c_str()}), refused) << "a counter that is not told is not an all clear";
  EXPECT_EQ(judge({R"([{"stats": []}])"}), refused) << "a vCPU that is not told of is not an all clear";
  EXPECT_EQ(judge({nullptr}), refused) << "QEMU before 7.1";
  EXPECT_EQ(judge({counted(kNone, kNone).c_str(), "true"}), refused)
      << "an enlightened VMCS is written between VMs too";
  EXPECT_EQ(judge({counted(kNone, kNone).c_str(), nullptr}), refused);
  EXPECT_EQ(judge({counted(kNone, kHasRun).c_str(), "false", true}), passed) << "the operator's word";
}

/// A guest may load its kvm_intel, run a VM and unload it again between two looks that both find VMX off.
TEST(UnseenWriters, AGuestWithVmxOffThatCouldTurnItOnIsWatched) {
  using Pair = std::pair<bool, bool>;
  const Pair refused{true, false}, watched{false, true}, passed{false, false};
  const auto off = [](const std::string& stats, const char* has_vmx = "true") {
    return judge({.stats = stats.c_str(), .vmx_on = false, .has_vmx = has_vmx});
  };
  EXPECT_EQ(off(counted(kNone, kNone)), watched);
  EXPECT_EQ(off(counted(kNone, kHasRun)), watched) << "those of before have ended";
  EXPECT_EQ(off(counted(kNone, kIsIn)), refused) << "the registers are those of the VM inside";
  EXPECT_EQ(off(counted(kNone, kHalf)), passed) << "not counted: VMX itself is looked at again";
  EXPECT_EQ(off(counted(kHasRun, kHasRun), "false"), passed) << "AMD's counters count too, and mean nothing here";
  EXPECT_EQ(off(counted(kHasRun, kHasRun), nullptr), passed);
}

TEST(UnseenWriters, AVmThatRanBetweenTwoLooksIsNamed) {
  const auto before = counted(kNone, kHasRun);
  const auto after = counted(kNone, kHasRunMore);
  Inspection inspection;
  inspection.fingerprint.accelerator = "kvm";
  const NestingGuest quiet{.stats = before.c_str(), .vmx_on = false};
  const NestingGuest busy{.stats = after.c_str(), .vmx_on = false};
  EXPECT_TRUE(look(*play(quiet), inspection)->empty());
  EXPECT_TRUE(look(*play(quiet), inspection)->empty());
  EXPECT_EQ(inspection.nested_entries, 7u);
  EXPECT_FALSE(has_run_nested_vms_since(*play(quiet), 7).value());
  EXPECT_TRUE(has_run_nested_vms_since(*play(busy), 7).value());
  EXPECT_TRUE(has_run_nested_vms_since(*play({.stats = nullptr}), 7).value()) << "no answer does not clear it";
  EXPECT_EQ(look(*play(busy), inspection)->size(), 1u);
}

/// Without KVM nobody but QEMU writes, and registers are not even asked for.
TEST(UnseenWriters, AreNoneUnderTcg) {
  EXPECT_TRUE(look(kVmxOn, "tcg")->empty());
  EXPECT_TRUE(look(nullptr, "tcg")->empty());
}

TEST(UnseenWriters, AnAnswerThatIsNotUnderstoodIsNoAllClear) {
  EXPECT_FALSE(look("what?", "kvm"));
  EXPECT_FALSE(look(nullptr, "kvm"));
}

}  // namespace
}  // namespace godwit::qemu::unseen_writers_test
