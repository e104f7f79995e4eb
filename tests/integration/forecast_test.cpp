// `godwit forecast` at a running guest: it answers, and leaves the guest and its QEMU as they were, however it ends.
#include <fmt/format.h>

#include <csignal>
#include <sstream>

#include "memory/page.h"
#include "tests/integration/scene.h"

namespace godwit::testing {
namespace {

constexpr seconds kForecastLimit{60};

QemuOptions busy_vm(QemuVersion version, Ram ram, const std::string& guest_line) {
  QemuOptions options = quiet_vm();
  options.version = version;
  options.ram = ram;
  options.guest_line = guest_line;
  return options;
}

/// The guest wrote on, verified what it wrote, and nothing is left in its QEMU.
Status expect_untouched(Scene& scene) {
  const auto before = TRY(read_guest_status(scene.source()));
  GuestStatus later{};
  const bool goes_on = wait_until(
      [&] {
        later = read_guest_status(scene.source()).value_or(GuestStatus{});
        return later.cpu[0].passes > before.cpu[0].passes;
      },
      seconds(60));
  if (!goes_on) return fail(ErrorKind::kTimedOut, "the guest does not go on: " + describe(later));
  if (const auto state = TRY(scene.source().status()); state != "running") {
    return fail(ErrorKind::kProtocol, "the guest is " + state);
  }
  return scene.expect_nothing_left();
}

/// Whether some of a process's memory is write-protected by userfaultfd.
bool is_tracked(pid_t pid) {
  std::istringstream lines(read_text(fmt::format("/proc/{}/smaps", pid)));
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("VmFlags:") && line.find(" uw") != std::string::npos) return true;
  }
  return false;
}

struct ForecastCase {
  const char* name;
  QemuVersion version;
  Ram ram;
};

class ForecastOf : public ::testing::TestWithParam<ForecastCase> {};

TEST_P(ForecastOf, AGuestThatConvergesLeavesItAsItWas) {
  ASSIGN_OR_SKIP(scene, Scene::make(busy_vm(GetParam().version, GetParam().ram, "work=2M cold=64M:16M rate=1000")));
  GodwitOptions options;
  options.arguments = {"--bandwidth", "1Gbit", "--seconds", "3", "--max-downtime", "500ms", "--json"};
  ASSIGN_OR_FAIL(forecast, start_forecast(scene->source(), options));
  ASSIGN_OR_FAIL(ended, forecast->wait(kForecastLimit));
  ASSERT_EQ(ended.code, 0) << forecast->errors() << forecast->output();
  const Json json = Json::parse(forecast->output(), nullptr, false);
  ASSERT_FALSE(json.is_discarded()) << forecast->output();
  EXPECT_EQ(json["type"], "forecast");
  EXPECT_TRUE(json["converges"]);
  // 18 MiB with data at least; half of what the link takes is far more than it takes.
  EXPECT_GT(json["data_bytes"], 18 * kMiB);
  EXPECT_LE(json["total_us"]["low"], json["total_us"]["point"]);
  EXPECT_LE(json["total_us"]["point"], json["total_us"]["high"]);
  EXPECT_GT(json["written_bytes_per_second"], 100 * kPageSize);
  EXPECT_GT(json["pages_tried"], 1000);
  EXPECT_GT(json["pages_tried_again"], 0);
  ASSERT_OK(expect_untouched(*scene));
}

constexpr ForecastCase kForecastCases[] = {{"file_7", QemuVersion::k7_2, Ram::kFile},
                                           {"memfd_10", QemuVersion::k10_0, Ram::kMemfd},
                                           {"private_10", QemuVersion::k10_0, Ram::kPrivate}};
INSTANTIATE_TEST_SUITE_P(On, ForecastOf, ::testing::ValuesIn(kForecastCases),
                         [](const auto& tested) { return tested.param.name; });

TEST(Forecast, OfAGuestThatIsTooFastSaysSoAndWhatWouldHelp) {
  // Pages that are like each other cost some 200 bytes: far more than the link takes all the same.
  ASSIGN_OR_SKIP(scene, Scene::make(busy_vm(QemuVersion::k7_2, Ram::kFile, "work=16M rate=4000")));
  GodwitOptions options;
  options.arguments = {"--bandwidth", "1Mbit", "--seconds", "3"};
  ASSIGN_OR_FAIL(forecast, start_forecast(scene->source(), options));
  ASSIGN_OR_FAIL(ended, forecast->wait(kForecastLimit));
  EXPECT_EQ(ended.code, 8) << forecast->errors() << forecast->output();
  EXPECT_TRUE(says(forecast->output(), "does not converge")) << forecast->output();
  EXPECT_TRUE(says(forecast->output(), "what would help: a link of")) << forecast->output();
  ASSERT_OK(expect_untouched(*scene));
}

TEST(Forecast, IsFollowedByAMove) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  GodwitOptions options;
  options.arguments = {"--bandwidth", "1Gbit", "--seconds", "1", "--max-downtime", "500ms"};
  ASSIGN_OR_FAIL(forecast, start_forecast(scene->source(), options));
  ASSIGN_OR_FAIL(ended, forecast->wait(kForecastLimit));
  ASSERT_EQ(ended.code, 0) << forecast->errors() << forecast->output();
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send());
  ASSERT_OK(scene->expect_moved());
}

/// The link is as fast as the bound that receives: no test depends on how fast that is.
TEST(Forecast, MeasuresTheLinkToAReceiverThatWaits) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSERT_OK(scene->receive());
  GodwitOptions options;
  options.arguments = {"--to", scene->address(), "--seconds", "1", "--max-downtime", "500ms"};
  ASSIGN_OR_FAIL(forecast, start_forecast(scene->source(), options));
  ASSIGN_OR_FAIL(ended, forecast->wait(kForecastLimit));
  ASSERT_EQ(ended.code, 0) << forecast->errors() << forecast->output();
  EXPECT_TRUE(says(forecast->output(), "link")) << forecast->output();
  ASSERT_OK(scene->send());
  ASSERT_OK(scene->expect_moved());
}

class ForecastThat : public ::testing::TestWithParam<int> {};

TEST_P(ForecastThat, IsEndedByASignalLeavesNothingBehind) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  GodwitOptions options;
  options.arguments = {"--bandwidth", "1Gbit", "--seconds", "60"};
  ASSIGN_OR_FAIL(forecast, start_forecast(scene->source(), options));
  const bool tracks = wait_until([&] { return is_tracked(scene->source().pid()); }, seconds(20));
  ASSERT_TRUE(tracks) << "the VM is not tracked; " << forecast->errors();
  ASSERT_OK(forecast->process().send_signal(GetParam()));
  ASSIGN_OR_FAIL(ended, forecast->wait(kForecastLimit));
  if (GetParam() == SIGINT) {
    EXPECT_EQ(ended.code, 1) << forecast->errors();
    EXPECT_TRUE(says(forecast->errors(), "cancelled")) << forecast->errors();
  }
  const bool let_go = wait_until([&] { return !is_tracked(scene->source().pid()); }, seconds(20));
  EXPECT_TRUE(let_go) << "tracking was left on";
  ASSERT_OK(expect_untouched(*scene));
}

INSTANTIATE_TEST_SUITE_P(On, ForecastThat, ::testing::Values(SIGINT, SIGKILL),
                         [](const auto& tested) { return tested.param == SIGINT ? "int" : "kill"; });

}  // namespace
}  // namespace godwit::testing
