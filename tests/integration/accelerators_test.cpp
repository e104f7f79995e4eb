// Moves with a device that encodes at the source and one that decodes at the destination, behind libraries that look
// like the real ones: the guest arrives exactly, whatever the device does on the way; and without one, CPUs encode.
#include <filesystem>

#include "tests/integration/scene.h"

namespace godwit::testing {
namespace {

struct Device {
  const char* name;
  const char* choice;    ///< of --codec and --decoder
  const char* variable;  ///< that names the library
  const char* library;
};
constexpr Device kQat{"Qat", "qat", "GODWIT_QATZIP", "/libqatzip.so"};
constexpr Device kIaa{"Iaa", "iaa", "GODWIT_QPL", "/libqpl.so"};

using Setting = std::map<std::string, std::string>;

GodwitOptions with_device(const Device& device, const Setting& setting, const std::vector<std::string>& arguments) {
  GodwitOptions options;
  options.arguments = arguments;
  options.environment = setting;
  options.environment[device.variable] = std::string(GODWIT_STANDINS) + device.library;
  return options;
}

/// A link so slow that each block is worth encoding.
GodwitOptions sends_with(const Device& device, const Setting& setting) {
  return with_device(device, setting, {"--codec", device.choice, "--bandwidth", "60Mbit", "--max-downtime", "1s"});
}

class MovedWithADevice : public ::testing::TestWithParam<Device> {
 protected:
  Json accelerator_of(TestGodwit& godwit) {
    const auto report = godwit.report();
    return report ? report->value("encoding_device", Json()) : Json();
  }
};

TEST_P(MovedWithADevice, TheGuestArrivesThoughItAnswersInAnyOrderAndFailsAtTimes) {
  const Setting setting{{"GODWIT_MODEL_ORDER", "random"},
                        {"GODWIT_MODEL_ERRORS", "10"},
                        {"GODWIT_MODEL_BUSY", "10"},
                        {"GODWIT_MODEL_WELL", "20"}};
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSERT_OK(scene->receive(with_device(GetParam(), setting, {"--decoder", GetParam().choice})));
  ASSERT_OK(scene->send(sends_with(GetParam(), setting)));
  ASSERT_OK(scene->expect_moved());
  const Json used = accelerator_of(scene->sender());
  ASSERT_TRUE(used.is_object()) << scene->sender().errors();
  EXPECT_GT(used.at("blocks"), 0) << used.dump();
  EXPECT_FALSE(used.at("model").is_null()) << "a model has to be named as one";
  EXPECT_TRUE(says(scene->sender().errors(), "a MODEL and no device")) << scene->sender().errors();
  EXPECT_TRUE(says(scene->receiver().errors(), "decoded by")) << scene->receiver().errors();
}

TEST_P(MovedWithADevice, TheGuestArrivesThoughTheDeviceVanishes) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send(sends_with(GetParam(), {{"GODWIT_MODEL_VANISHES", "10"}})));
  ASSERT_OK(scene->expect_moved());
  const Json used = accelerator_of(scene->sender());
  ASSERT_TRUE(used.is_object()) << scene->sender().errors();
  EXPECT_NE(used.at("given_up"), "") << used.dump();
  EXPECT_TRUE(says(scene->sender().errors(), "is given up, and CPUs encode")) << scene->sender().errors();
}

/// What it had is encoded by the CPU, and the thread that is stuck in the library is left behind, to the end.
TEST_P(MovedWithADevice, TheGuestArrivesThoughTheDeviceHangs) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send(sends_with(GetParam(), {{"GODWIT_MODEL_HANGS", "10"}})));
  ASSERT_OK(scene->expect_moved());
  const Json used = accelerator_of(scene->sender());
  ASSERT_TRUE(used.is_object()) << scene->sender().errors();
  // A move that ends before the device's time is over has taken from it what it was late with.
  const bool taken_from_it = used.at("given_up") == "" && used.at("busy") > 0;
  EXPECT_TRUE(taken_from_it || used.at("given_up") == "the device has not answered in time") << used.dump();
}

/// Without deltas the device is given guest RAM itself, while the guest writes to it.
TEST_P(MovedWithADevice, TheGuestArrivesThoughTheDeviceReadsItsMemory) {
  QemuOptions vm = quiet_vm();
  vm.ram = Ram::kMemfd;
  const Setting setting{{"GODWIT_MODEL_ORDER", "random"}, {"GODWIT_MODEL_LATENCY", "1000"}};
  ASSIGN_OR_SKIP(scene, Scene::make(vm));
  ASSERT_OK(scene->receive());
  GodwitOptions options = sends_with(GetParam(), setting);
  options.arguments.insert(options.arguments.end(), {"--delta-memory", "0"});
  ASSERT_OK(scene->send(options));
  ASSERT_OK(scene->expect_moved());
  EXPECT_TRUE(says(scene->sender().errors(), "guest RAM for")) << scene->sender().errors();
}

INSTANTIATE_TEST_SUITE_P(Devices, MovedWithADevice, ::testing::Values(kQat, kIaa),
                         [](const auto& tested) { return std::string(tested.param.name); });

TEST(MovedWithoutADevice, AsTheLibraryFindsNone) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send(sends_with(kQat, {{"GODWIT_MODEL_LACKS", "software"}})));
  ASSERT_OK(scene->expect_moved());
  EXPECT_TRUE(says(scene->sender().errors(), "QATzip finds no QAT device")) << scene->sender().errors();
}

/// QATzip 1.3.1 as Debian has it, on a host without a device: refused in a sentence, and CPUs encode.
TEST(MovedWithoutADevice, ByTheRealLibrary) {
  const std::string folder = std::string(GODWIT_ACCELERATORS) + "/lib";
  if (!std::filesystem::exists(folder + "/libqatzip.so.3")) {
    GTEST_SKIP() << "QATzip is not in build/accelerators: run tools/fetch_accelerators";
  }
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSERT_OK(scene->receive());
  GodwitOptions options = sends_with(kQat, {{"LD_LIBRARY_PATH", folder}});
  options.environment["GODWIT_QATZIP"] = folder + "/libqatzip.so.3";
  ASSERT_OK(scene->send(options));
  ASSERT_OK(scene->expect_moved());
  EXPECT_TRUE(says(scene->sender().errors(), "QATzip finds no QAT device")) << scene->sender().errors();
  ASSIGN_OR_FAIL(report, scene->sender().report());
  EXPECT_EQ(report.at("codec"), "auto");
  bool by_zstd = false;
  for (const Json& share : report.at("codecs")) by_zstd |= std::string(share.at("codec")).starts_with("zstd");
  EXPECT_TRUE(by_zstd) << report.at("codecs").dump();
}

/// QPL as Debian has it: refused in a sentence (where its C library is too old, as one that cannot be loaded).
TEST(MovedWithoutADevice, ByTheRealQpl) {
  const std::string library = std::string(GODWIT_ACCELERATORS) + "/lib/libqpl.so.1";
  if (!std::filesystem::exists(library)) {
    GTEST_SKIP() << "QPL is not in build/accelerators: run tools/fetch_accelerators";
  }
  if (std::filesystem::exists("/sys/bus/dsa/devices/iax1")) GTEST_SKIP() << "this host may have a device";
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSERT_OK(scene->receive());
  GodwitOptions options = sends_with(kIaa, {});
  options.environment["GODWIT_QPL"] = library;
  ASSERT_OK(scene->send(options));
  ASSERT_OK(scene->expect_moved());
  EXPECT_TRUE(says(scene->sender().errors(), "iaa is not used, and CPUs encode (auto)")) << scene->sender().errors();
}

}  // namespace
}  // namespace godwit::testing
