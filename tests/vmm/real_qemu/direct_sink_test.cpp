// Devices that were saved directly and are not as they should be, at the sink.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/vmm/real_qemu/handover_base.h"
#include "vmm/qemu/saved_devices.h"

namespace godwit::qemu::direct_sink_test {
namespace {

using namespace testing;
using ::testing::HasSubstr;

/// What the destination's QEMU is given may be broken, or of another machine: it says so, and never runs.
class DirectSinkTest : public HandoverBase, public ::testing::WithParamInterface<QemuVersion> {
 protected:
  void SetUp() override {
    const auto program = godwit::testing::find_qemu(GetParam());
    if (!program) GTEST_SKIP() << program.error().message;
    way_ = DeviceWay::kDirect;
    ASSERT_NO_FATAL_FAILURE(start_source(GetParam(), Ram::kPrivate));
    ASSERT_NO_FATAL_FAILURE(start_sink(GetParam(), Ram::kPrivate));
    ASSERT_TRUE(godwit::testing::hand_over(*source_vm_, observer_));
    ASSERT_TRUE(observer_.await_end());
    ASSERT_FALSE(observer_.failed) << observer_.failed->message;
    devices_ = observer_.take_bytes();
    ASSERT_NO_FATAL_FAILURE(copy_ram());
    ASSERT_TRUE(sink_vm_->open_incoming());
  }
  /// Gives these bytes to the sink, and expects that it does not take them and the source can go on.
  void expect_refused(Bytes bytes, const std::string& words) {
    Status status = sink_vm_->load(bytes);
    if (status) status = sink_vm_->finish_load();
    if (status) status = sink_vm_->await_loaded(seconds(30));
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().kind, ErrorKind::kHypervisor);
    EXPECT_THAT(status.error().message, HasSubstr(words));
    ASSERT_TRUE(source_vm_->roll_back());
    expect_source_runs();
  }
  std::vector<std::byte> devices_;
};

TEST_P(DirectSinkTest, DevicesThatAreCut) {
  ASSERT_NO_FATAL_FAILURE(expect_refused(Bytes(devices_).first(devices_.size() / 2), ""));
}

TEST_P(DirectSinkTest, DevicesOfAnotherMachine) {
  const auto other = stream_beginning("pc-i440fx-6.2");
  std::vector<std::byte> bytes(other);
  const auto own = stream_beginning(source_.vm.inspection.fingerprint.machine);
  bytes.insert(bytes.end(), devices_.begin() + static_cast<std::ptrdiff_t>(own.size()), devices_.end());
  ASSERT_NO_FATAL_FAILURE(expect_refused(bytes, "pc-i440fx-6.2"));
}

/// A newer QEMU saves sections in versions that an older one does not know.
TEST_P(DirectSinkTest, DevicesOfANewerQemu) {
  // Type, section, length of the name, name, instance, version: of the first device.
  const auto own = stream_beginning(source_.vm.inspection.fingerprint.machine);
  const std::size_t name_length = static_cast<std::size_t>(devices_.at(own.size() + 5));
  const std::size_t version = own.size() + 6 + name_length + 4;
  devices_.at(version) = std::byte{0x7f};
  ASSERT_NO_FATAL_FAILURE(expect_refused(devices_, ""));
}

INSTANTIATE_TEST_SUITE_P(Qemu, DirectSinkTest, ::testing::Values(QemuVersion::k10_0),
                         [](const auto&) { return "qemu_10"; });

}  // namespace
}  // namespace godwit::qemu::direct_sink_test
