// The parser of "info registers -a", on what QEMU 7.2 and 10.0 print.
#include "vmm/qemu/vcpu_registers.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/limits.h"
#include "tests/vmm/scripted_qmp.h"

namespace godwit::qemu::vcpu_registers_test {
namespace {

using godwit::testing::ScriptedQmp;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string cpu(unsigned number, std::string_view control) {
  return fmt::format(
      "\r\nCPU#{}\r\nRAX=000000000001ad40 RBX=0000000000000000 RCX=0000000000000001 RDX=4000000000000000\r\n"
      "GDT=     fffffe0000001000 0000007f\r\nIDT=     fffffe0000000000 00000fff\r\n{}\r\n"
      "DR0=0000000000000000 DR1=0000000000000000 DR2=0000000000000000 DR3=0000000000000000 \r\n"
      "EFER=0000000000000d01\r\nXMM00=5f6f69747269762f 73656c75646f6d2f XMM01=6f6b2e6b6c625f6f 69747269762f7365\r\n",
      number, control);
}
constexpr const char* kPaging = "CR0=80050033 CR2=0000000001d458e8 CR3=00000000024b2000 CR4=000006b0";
constexpr const char* kNoPaging = "CR0=00000011 CR2=00000000 CR3=00000000 CR4=00000000";

TEST(PageTableRoots, OfAllVcpusThatHavePagingOn) {
  const auto roots =
      parse_page_table_roots(cpu(0, kPaging) + cpu(1, kNoPaging) +
                             cpu(2, "CR0=80050033 CR2=0000000000000000 CR3=fedcba9876543801 CR4=001706b0"));
  ASSERT_TRUE(roots) << roots.error().message;
  EXPECT_THAT(*roots, ElementsAre(0x24b2000u, 0xfedcba9876543801u));
}

TEST(PageTableRoots, AreNoneInFirmware) {
  const auto roots = parse_page_table_roots(cpu(0, kNoPaging));
  ASSERT_TRUE(roots) << roots.error().message;
  EXPECT_THAT(*roots, ElementsAre());
}

TEST(PageTableRoots, OfTheLargestVm) {
  std::string text;
  for (unsigned i = 0; i < most::kCpus; ++i) text += cpu(i, kPaging);
  const auto roots = parse_page_table_roots(text);
  ASSERT_TRUE(roots) << roots.error().message;
  EXPECT_EQ(roots->size(), most::kCpus);
  EXPECT_FALSE(parse_page_table_roots(text + cpu(most::kCpus, kPaging)));
}

TEST(PageTableRoots, LeaveNoVcpuOut) {
  for (const std::string& text :
       {std::string(), std::string("no such command\r\n"), cpu(0, kPaging) + cpu(1, "CR1=0"), cpu(0, "CR0=80050033"),
        cpu(0, "CR0=80050033 CR3=00000000024b200g"), cpu(0, "CR0= CR3=24b2000"), cpu(0, "CR0=80050033 XCR3=24b2000"),
        cpu(0, "CR0=80050033 CR3=12345678123456789"), std::string(kPaging),
        cpu(0, kPaging) + std::string("\r\nCPU#1\r\n")}) {
    const auto roots = parse_page_table_roots(text);
    ASSERT_FALSE(roots) << text;
    EXPECT_EQ(roots.error().kind, ErrorKind::kHypervisor);
  }
}

TEST(UsesVmx, IfOneVcpuHasItOn) {
  const char* const on = "CR0=80050033 CR2=0000000001d458e8 CR3=00000000024b2000 CR4=003726f0";
  EXPECT_FALSE(parse_uses_vmx(cpu(0, kPaging) + cpu(1, kNoPaging)).value());
  EXPECT_TRUE(parse_uses_vmx(cpu(0, on)).value());
  EXPECT_TRUE(parse_uses_vmx(cpu(0, kPaging) + cpu(1, on)).value());
  EXPECT_FALSE(parse_uses_vmx(cpu(0, "CR0=80050033 CR3=00000000024b2000")).has_value());
  EXPECT_FALSE(parse_uses_vmx("").has_value());
}

TEST(PageTableRoots, AreAskedOfTheMonitor) {
  ScriptedQmp qmp;
  qmp.set("human-monitor-command command-line=info registers -a", cpu(0, kPaging));
  const auto roots = page_table_roots(qmp);
  ASSERT_TRUE(roots) << roots.error().message;
  EXPECT_THAT(*roots, ElementsAre(0x24b2000u));
  EXPECT_EQ(page_table_roots(*std::make_unique<ScriptedQmp>()).error().kind, ErrorKind::kUnsupported);
}

}  // namespace
}  // namespace godwit::qemu::vcpu_registers_test
