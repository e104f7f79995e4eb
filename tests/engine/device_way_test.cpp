// Which way devices go is agreed between the sides: directly only if both can.
#include <gmock/gmock.h>

#include <future>

#include "tests/support/fake_migration.h"

namespace godwit::device_way_test {
namespace {

using ::testing::HasSubstr;

class DeviceWays : public godwit::testing::FakeMigration {
 protected:
  /// What the sink was offered, and what the source reports.
  Report move(DeviceWay source, DeviceWay sink) {
    source_.device_way = source;
    sink_.device_way = sink;
    auto received = std::async(std::launch::async, [this] {
      auto parts = sink_parts(sink_);
      parts.open_vm = [this](const Fingerprint&, DeviceWay offered) -> Result<SinkVm*> {
        offered_ = offered;
        return &sink_;
      };
      return run_sink(std::move(parts));
    });
    Report report = send(steady_);
    EXPECT_EQ(received.get().outcome, Outcome::kDone);
    EXPECT_EQ(report.outcome, Outcome::kDone) << report.error->message;
    EXPECT_TRUE(sink_.runs());
    return report;
  }
  DeviceWay offered_ = DeviceWay::kStream;
};

TEST_F(DeviceWays, DirectlyWhereBothCan) {
  EXPECT_EQ(move(DeviceWay::kDirect, DeviceWay::kDirect).devices, "direct");
  EXPECT_EQ(offered_, DeviceWay::kDirect);
  EXPECT_EQ(source_.device_way, DeviceWay::kDirect);
}

TEST_F(DeviceWays, ByTheStreamWhereTheSinkCannot) {
  sink_.why_not_direct = "its QEMU does not tell";
  const auto report = move(DeviceWay::kDirect, DeviceWay::kStream);
  EXPECT_EQ(report.devices, "stream");
  EXPECT_THAT(report.why_stream, HasSubstr("at the destination its QEMU does not tell"));
  EXPECT_EQ(source_.device_way, DeviceWay::kStream);
}

/// A sink never takes a way that was not offered.
TEST_F(DeviceWays, ByTheStreamWhereTheSourceDoesNotOffer) {
  const auto report = move(DeviceWay::kStream, DeviceWay::kDirect);
  EXPECT_EQ(offered_, DeviceWay::kStream);
  EXPECT_EQ(report.devices, "stream");
}

/// Saving them waits here for the look at what was written, which so cannot wait for them.
TEST_F(DeviceWays, TheLastLookBeginsBesideTheDevices) {
  std::promise<void> looked;
  source_.on_call = [&](std::string_view what) {
    if (what == "harvest_last") looked.set_value();
  };
  auto has_looked = std::future_status::deferred;
  source_.before_devices = [&] { has_looked = looked.get_future().wait_for(std::chrono::minutes(1)); };
  move(DeviceWay::kDirect, DeviceWay::kDirect);
  EXPECT_EQ(has_looked, std::future_status::ready);
}

}  // namespace
}  // namespace godwit::device_way_test
