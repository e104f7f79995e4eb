// A guest that writes faster than QEMU sends: private RAM, which QEMU sends through the filter, does not converge by
// itself, and the hand-over must make it stop all the same.
#include <gtest/gtest.h>

#include <array>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/support/kept_record.h"
#include "tests/support/qemu_vm.h"
#include "tests/vmm/handover_observer.h"
#include "vmm/qemu/handover.h"
#include "vmm/qemu/migration_settings.h"
#include "vmm/qemu/qemu_vm.h"

namespace godwit::qemu::convergence_test {
namespace {

using godwit::testing::QemuVersion;
using godwit::testing::TestQemu;
using std::chrono::milliseconds;

// A boot sector: protected mode, then one word in each page from 2 MiB to 448 MiB, over and over.
constexpr std::array<unsigned char, 86> kWriter = {
    0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0x0f, 0x01, 0x16, 0x50, 0x7c, 0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0,
    0x66, 0xea, 0x1a, 0x7c, 0x00, 0x00, 0x08, 0x00, 0x66, 0xb8, 0x10, 0x00, 0x8e, 0xd8, 0x42, 0xbf, 0x00, 0x00,
    0x20, 0x00, 0x89, 0x17, 0x81, 0xc7, 0x00, 0x10, 0x00, 0x00, 0x81, 0xff, 0x00, 0x00, 0x00, 0x1c, 0x72, 0xf0,
    0xeb, 0xe8, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0x00, 0x00, 0x00, 0x9a, 0xcf, 0x00,
    0xff, 0xff, 0x00, 0x00, 0x00, 0x92, 0xcf, 0x00, 0x17, 0x00, 0x38, 0x7c, 0x00, 0x00};
constexpr std::uint64_t kWritten = 0x200000;

class ConvergenceTest : public ::testing::TestWithParam<QemuVersion> {};

TEST_P(ConvergenceTest, AGuestThatWritesFlatOutIsStopped) {
  godwit::testing::QemuOptions options;
  options.version = GetParam();
  options.ram = godwit::testing::Ram::kPrivate;
  options.size = 512 * kMiB;
  const auto folder = godwit::testing::TempFolder::make("/tmp");
  ASSERT_TRUE(folder);
  const auto image = folder->path() / "boot";
  std::string sector(1 << 20, '\0');
  std::copy(kWriter.begin(), kWriter.end(), sector.begin());
  sector[510] = '\x55';
  sector[511] = '\xaa';
  { std::ofstream(image, std::ios::binary) << sector; }
  options.more = {"-drive", "file=" + image.string() + ",format=raw,if=ide"};
  auto qemu = TestQemu::start(options);
  if (!qemu && qemu.error().kind == ErrorKind::kNotFound) GTEST_SKIP() << qemu.error().message;
  ASSERT_TRUE(qemu) << qemu.error().message;
  const SteadyClock clock;
  auto vm = attach((*qemu)->qmp_path().string(), 0, clock);
  ASSERT_TRUE(vm) << vm.error().message;
  const auto rounds = [&] {
    std::uint32_t value = 0;
    EXPECT_TRUE((*qemu)->read_physical(kWritten, &value, sizeof value));
    return value;
  };
  // It counts on from what the firmware left in its register; each page touched at least once, it is at its fastest.
  const auto await_round = [&](std::uint32_t before) {
    for (int i = 0; i < 3000 && rounds() == before; ++i) std::this_thread::sleep_for(milliseconds(10));
    return rounds() != before;
  };
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(await_round(rounds())) << "the writer does not come up";

  // With 1 ms QEMU may leave some MB for the pause, and the writer touches 446 MiB in each of its rounds. (With 0 ms,
  // or if its first pass takes less than the 100 ms over which it measures, QEMU stops at once whatever is left.)
  const Json parameters = {{"max-bandwidth", std::uint64_t{1} << 40}, {"downtime-limit", 1}};
  godwit::testing::KeptRecord record;
  auto settings = MigrationSettings::apply(*vm->qmp, {"x-ignore-shared", "events"}, parameters, record);
  ASSERT_TRUE(settings) << settings.error().message;
  godwit::testing::RecordingObserver observer;
  const StreamOptions stream{.dropped_blocks = {"pc.ram"}, .push_every = milliseconds(100)};
  auto handover = StreamHandover::open(*vm->qmp, stream, observer, record, clock);
  ASSERT_TRUE(handover) << handover.error().message;
  const Status ordered = (*handover)->order({.downtime_limit_ms = 1, .highest_limit_ms = 5000});
  ASSERT_TRUE(ordered) << ordered.error().message;
  ASSERT_TRUE(observer.await_end()) << "it never stopped";
  EXPECT_FALSE(observer.failed) << observer.failed->message;
  const auto limit = vm->qmp->execute("query-migrate-parameters");
  ASSERT_TRUE(limit);
  const auto reached = limit->at("downtime-limit").get<unsigned>();
  handover->reset();
  if (reached == 1) GTEST_SKIP() << "the guest got no processor during a whole pass: there was nothing to push";
  EXPECT_LE(reached, 5000u) << "more than was allowed";
}

INSTANTIATE_TEST_SUITE_P(Qemu, ConvergenceTest, ::testing::Values(QemuVersion::k7_2, QemuVersion::k10_0),
                         [](const auto& each) { return each.param == QemuVersion::k7_2 ? "v7_2" : "v10_0"; });

}  // namespace
}  // namespace godwit::qemu::convergence_test
