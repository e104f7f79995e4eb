// Writers that no page table sees: named under KVM only, where they are.
#include "vmm/qemu/unseen_writers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/vmm/scripted_qmp.h"

namespace godwit::qemu {
namespace {

using godwit::testing::ScriptedQmp;
using ::testing::HasSubstr;

constexpr const char* kRegisters = "human-monitor-command command-line=info registers -a";
constexpr const char* kVmxOn = "CPU#0\r\nCR0=80050033 CR2=0 CR3=24b2000 CR4=003726f0\r\n";
constexpr const char* kVmxOff = "CPU#0\r\nCR0=80050033 CR2=0 CR3=24b2000 CR4=000006b0\r\n";

Result<std::vector<Obstacle>> look(const char* registers, const char* accelerator) {
  ScriptedQmp qmp;
  if (registers != nullptr) qmp.set(kRegisters, registers);
  Inspection inspection;
  inspection.fingerprint.accelerator = accelerator;
  const auto self = RemoteProcess::open(::getpid());
  if (!self) return fail(Error(self.error()));
  return find_unseen_writers(qmp, *self, inspection);
}

TEST(UnseenWriters, VmsInsideTheGuest) {
  const auto found = look(kVmxOn, "kvm");
  ASSERT_TRUE(found) << found.error().message;
  ASSERT_EQ(found->size(), 1u);
  EXPECT_THAT(found->front().what, HasSubstr("CR4.VMXE"));
  EXPECT_TRUE(look(kVmxOff, "kvm")->empty());
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
}  // namespace godwit::qemu
