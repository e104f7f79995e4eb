// A hand-over that is undone: what tests of both ways have in common.
#pragma once

#include <array>
#include <string>

#include "tests/vmm/real_qemu/handover_base.h"
#include "vmm/qemu/revive.h"

namespace godwit::qemu::testing {

/// On one QEMU; RAM that QEMU leaves out and RAM that it sends.
struct Kind {
  const char* name;
  QemuVersion version;
  Ram ram;
  DeviceWay way = DeviceWay::kStream;
};

inline constexpr std::array kStreamKinds = {
    Kind{"file_7", QemuVersion::k7_2, Ram::kFile}, Kind{"private_7", QemuVersion::k7_2, Ram::kPrivate},
    Kind{"file_10", QemuVersion::k10_0, Ram::kFile}, Kind{"private_10", QemuVersion::k10_0, Ram::kPrivate}};
inline constexpr std::array kDirectKinds = {
    Kind{"direct_private_7", QemuVersion::k7_2, Ram::kPrivate, DeviceWay::kDirect},
    Kind{"direct_file_10", QemuVersion::k10_0, Ram::kFile, DeviceWay::kDirect},
    Kind{"direct_private_10", QemuVersion::k10_0, Ram::kPrivate, DeviceWay::kDirect}};

inline std::string kind_name(const ::testing::TestParamInfo<Kind>& each) {
  return each.param.name;
}

class RollBackTest : public HandoverBase, public ::testing::WithParamInterface<Kind> {
 protected:
  void SetUp() override {
    const auto program = godwit::testing::find_qemu(GetParam().version);
    if (!program) GTEST_SKIP() << program.error().message;
    way_ = GetParam().way;
    ASSERT_NO_FATAL_FAILURE(start_source(GetParam().version, GetParam().ram));
    before_ = settings_of(*source_.qemu);
  }

  /// Rolls back, twice, and expects the guest to run as if nothing had been; then moves it after all.
  void expect_rolled_back() {
    observer_.let_go();
    const auto rolled_back = source_vm_->roll_back();
    ASSERT_TRUE(rolled_back) << rolled_back.error().message;
    expect_source_runs();
    EXPECT_TRUE(source_vm_->roll_back());
    expect_source_runs();
    EXPECT_EQ(settings_of(*source_.qemu), before_);
    const unsigned calls = observer_.calls;

    RecordingObserver second;
    ASSERT_TRUE(godwit::testing::hand_over(*source_vm_, second));
    ASSERT_TRUE(second.await_end());
    EXPECT_FALSE(second.failed) << second.failed->message;
    EXPECT_TRUE(source_vm_->roll_back());
    expect_source_runs();
    EXPECT_EQ(observer_.calls, calls) << "the first observer was called after its hand-over was rolled back";
  }
  Revival revive() { return revive_by(source_.record.mark()); }
  Revival revive_by(const std::string& mark) {
    const auto revived = is_mark_of_pause(mark) ? revive_after_pause(*source_.vm.qmp, *source_.vm.process, mark)
                                                : revive_after_handover(*source_.vm.qmp, mark);
    EXPECT_TRUE(revived) << revived.error().message;
    return revived ? revived->what : Revival::kUnderWay;
  }
  Json before_;
};

}  // namespace godwit::qemu::testing
