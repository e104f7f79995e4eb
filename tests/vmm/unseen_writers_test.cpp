// Writers that no page table sees: named under KVM only, where they are.
#include "vmm/qemu/unseen_writers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

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

/// A guest on two vCPUs with VMX on, and what QEMU passes on of KVM's counters.
struct NestingGuest {
  const char* stats;
  const char* enlightened = "false";
  bool allowed = false;
};

/// Whether it is refused, and whether it is to be looked at again.
std::pair<bool, bool> judge(const NestingGuest& guest) {
  ScriptedQmp qmp;
  qmp.set(kRegisters, std::string(kVmxOn) + "CPU#1\r\nCR0=80050033 CR2=0 CR3=24b2000 CR4=003726f0\r\n");
  qmp.set_text("query-cpus-fast", R"([{"qom-path": "/cpu0"}, {"qom-path": "/cpu1"}])");
  if (guest.enlightened != nullptr) qmp.set_text("qom-get path=/cpu0 property=hv-evmcs", guest.enlightened);
  if (guest.stats != nullptr) qmp.set_text("query-stats", guest.stats);
  Inspection inspection;
  inspection.fingerprint.accelerator = "kvm";
  inspection.allow_nested = guest.allowed;
  const auto found = look(qmp, inspection);
  EXPECT_TRUE(found) << found.error().message;
  return {found && !found->empty(), inspection.may_nest};
}

TEST(UnseenWriters, VmsInsideTheGuest) {
  const auto found = look(kVmxOn, "kvm");
  ASSERT_TRUE(found) << found.error().message;
  ASSERT_EQ(found->size(), 1u);
  EXPECT_THAT(found->front().what, HasSubstr("CR4.VMXE"));
  EXPECT_TRUE(look(kVmxOff, "kvm")->empty());
}

/// Since Linux 6.12 a guest has VMX on as soon as its kvm_intel is loaded: only one that has run VMs is refused.
TEST(UnseenWriters, AGuestThatHasRunNoVmsIsLetPassAndWatched) {
  const auto counted = [](const char* first, const char* second) {
    return std::string(R"([{"provider": "kvm", "qom-path": "/cpu0", "stats": )") + first +
           R"(}, {"provider": "kvm", "qom-path": "/cpu1", "stats": )" + second + "}]";
  };
  constexpr const char* kNone = R"([{"name": "guest_mode", "value": false}, {"name": "nested_run", "value": 0}])";
  constexpr const char* kNoneCounted = R"([{"name": "nested_run", "value": 0}, {"name": "guest_mode", "value": 0}])";
  constexpr const char* kHasRun = R"([{"name": "guest_mode", "value": false}, {"name": "nested_run", "value": 7}])";
  constexpr const char* kIsIn = R"([{"name": "guest_mode", "value": true}, {"name": "nested_run", "value": 0}])";
  constexpr const char* kHalf = R"([{"name": "nested_run", "value": 0}])";
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
