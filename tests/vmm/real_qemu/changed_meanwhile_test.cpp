// A real QEMU that is changed before, while and after it hands its guest over; the test is engine and operator.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/kept_record.h"
#include "tests/support/qemu_vm.h"
#include "tests/vmm/handover_observer.h"
#include "vmm/qemu/qemu_vm.h"

namespace godwit::qemu::changed_meanwhile_test {
namespace {

using godwit::testing::QemuOptions;
using godwit::testing::QemuVersion;
using godwit::testing::RecordingObserver;
using godwit::testing::TestQemu;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

class ChangedMeanwhile : public ::testing::TestWithParam<QemuVersion> {
 protected:
  void SetUp() override {
    const auto program = godwit::testing::find_qemu(GetParam());
    if (!program) GTEST_SKIP() << program.error().message;
    QemuOptions options;
    options.version = GetParam();
    options.size = 32 * kMiB;
    // What is on a USB bus can be pulled out without the guest's help.
    options.more = {"-device", "piix3-usb-uhci,id=usb", "-device", "usb-tablet,bus=usb.0,id=tab"};
    auto qemu = TestQemu::start(options);
    ASSERT_TRUE(qemu) << qemu.error().message;
    qemu_ = std::move(*qemu);
    auto vm = attach(qemu_->qmp_path().string(), 0, clock_);
    ASSERT_TRUE(vm) << vm.error().message;
    vm_ = std::move(*vm);
    source_vm_ = make_source_vm(vm_, {}, record_, clock_);
  }
  void pull_out() {
    const auto pulled = qemu_->monitor().execute("device_del", {{"id", "tab"}});
    ASSERT_TRUE(pulled) << pulled.error().message;
  }
  static void expect_named(const Error& error) {
    EXPECT_EQ(error.kind, ErrorKind::kRefused);
    EXPECT_THAT(error.message, HasSubstr("has been changed since the move began"));
    EXPECT_THAT(error.message, HasSubstr("device 'tab'"));
  }

  SteadyClock clock_;
  godwit::testing::KeptRecord record_;
  std::unique_ptr<TestQemu> qemu_;
  QemuVm vm_;
  RecordingObserver observer_;
  std::unique_ptr<SourceVm> source_vm_;
};

TEST_P(ChangedMeanwhile, AVmLeftAloneIsUnchangedAlsoWhileItStands) {
  for (int i = 0; i < 3; ++i) {
    const auto unchanged = source_vm_->check_unchanged();
    EXPECT_TRUE(unchanged) << unchanged.error().message;
  }
  ASSERT_TRUE(godwit::testing::hand_over(*source_vm_, observer_));
  ASSERT_TRUE(observer_.await_end());
  ASSERT_FALSE(observer_.failed) << observer_.failed->message;
  const auto unchanged = source_vm_->check_unchanged();
  EXPECT_TRUE(unchanged) << unchanged.error().message;
  EXPECT_TRUE(source_vm_->roll_back());
  EXPECT_FALSE(observer_.failed);
  EXPECT_EQ(qemu_->status().value_or(""), "running");
}

TEST_P(ChangedMeanwhile, BeforeTheHandOver) {
  pull_out();
  ASSERT_TRUE(qemu_->monitor().wait_for_event("DEVICE_DELETED", seconds(30)));
  const auto unchanged = source_vm_->check_unchanged();
  ASSERT_FALSE(unchanged);
  expect_named(unchanged.error());
  // And if nobody asked: QEMU is not asked to migrate.
  const auto started = godwit::testing::hand_over(*source_vm_, observer_);
  ASSERT_FALSE(started);
  expect_named(started.error());
  EXPECT_TRUE(source_vm_->roll_back());
  EXPECT_EQ(qemu_->status().value_or(""), "running");
  EXPECT_EQ(qemu_->monitor().execute("query-migrate").value_or(Json::object()).value("status", "none"), "none");
}

TEST_P(ChangedMeanwhile, AfterTheStop) {
  ASSERT_TRUE(godwit::testing::hand_over(*source_vm_, observer_));
  ASSERT_TRUE(observer_.await_end());
  ASSERT_FALSE(observer_.failed) << observer_.failed->message;
  pull_out();
  ASSERT_TRUE(observer_.await([](const auto& o) { return o.failed.has_value(); }));
  expect_named(*observer_.failed);
  const auto unchanged = source_vm_->check_unchanged();
  ASSERT_FALSE(unchanged);
  expect_named(unchanged.error());
  EXPECT_TRUE(source_vm_->roll_back());
  EXPECT_EQ(qemu_->status().value_or(""), "running");
}

INSTANTIATE_TEST_SUITE_P(Qemu, ChangedMeanwhile, ::testing::Values(QemuVersion::k7_2, QemuVersion::k10_0),
                         [](const auto& each) { return each.param == QemuVersion::k7_2 ? "v7_2" : "v10_0"; });

}  // namespace
}  // namespace godwit::qemu::changed_meanwhile_test
