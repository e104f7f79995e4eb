// A guest that writes nothing is moved at once: halted from the start, with hardly anything but zeros in its memory, or
// halted while it is copied. A prediction of its pause needs neither pages that were written nor a rate at which to
// send them.
#include "tests/integration/scene.h"

namespace godwit::testing {
namespace {

struct Kind {
  QemuVersion version;
  Ram ram;
};

const auto name = [](const auto& tested) {
  return name_of(tested.param.ram) + (tested.param.version == QemuVersion::k7_2 ? "_7" : "_10");
};

constexpr Kind kAll[] = {{QemuVersion::k7_2, Ram::kFile},    {QemuVersion::k7_2, Ram::kMemfd},
                         {QemuVersion::k7_2, Ram::kPrivate}, {QemuVersion::k10_0, Ram::kFile},
                         {QemuVersion::k10_0, Ram::kMemfd},  {QemuVersion::k10_0, Ram::kPrivate}};
constexpr Kind kSome[] = {
    {QemuVersion::k7_2, Ram::kFile}, {QemuVersion::k10_0, Ram::kMemfd}, {QemuVersion::k10_0, Ram::kPrivate}};

QemuOptions idle_vm(const Kind& kind, const std::string& guest_line) {
  QemuOptions options;
  options.version = kind.version;
  options.ram = kind.ram;
  options.size = 64 * kMiB;
  options.guest = guest_image();
  options.guest_line = guest_line;
  return options;
}

/// Far more than it takes, and far less than the default: who waits for something that never comes is found out.
GodwitOptions bounded() {
  GodwitOptions options;
  options.arguments = {"--timeout", "60s"};
  return options;
}

Status wait_until_halted(TestQemu& qemu, std::uint32_t passes) {
  GuestStatus status{};
  const bool halted = wait_until(
      [&] {
        status = read_guest_status(qemu).value_or(GuestStatus{});
        return status.cpu[0].passes >= passes;
      },
      seconds(120));
  return halted ? Status{} : fail(ErrorKind::kTimedOut, "the guest does not halt: " + describe(status));
}

/// The guest does nothing any more at either end, so both can be compared as they are.
Status expect_moved_whole(Scene& scene) {
  const Ended sent = TRY_IN("godwit send", scene.sender().wait(seconds(120)));
  const Ended received = TRY_IN("godwit receive", scene.receiver().wait(seconds(60)));
  if (sent.code != 0 || received.code != 0) {
    return fail(ErrorKind::kProtocol, "send: " + scene.sender().errors() + "receive: " + scene.receiver().errors());
  }
  if (const auto there = TRY(scene.sink().status()); there != "running") {
    return fail(ErrorKind::kProtocol, "the guest at the sink is " + there);
  }
  const auto compared = TRY(compare_ram(scene.source(), scene.sink()));
  if (!compared.equal()) return fail(ErrorKind::kProtocol, compared.describe());
  return scene.expect_nothing_left();
}

class IdleGuest : public ::testing::TestWithParam<Kind> {};

TEST_P(IdleGuest, HaltedFromTheStartIsMoved) {
  ASSIGN_OR_SKIP(scene, Scene::make(idle_vm(GetParam(), "work=32K halt=1")));
  ASSERT_OK(wait_until_halted(scene->source(), 1));
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send(bounded()));
  ASSERT_OK(expect_moved_whole(*scene));
}

class GuestThatGoesIdle : public ::testing::TestWithParam<Kind> {};

TEST_P(GuestThatGoesIdle, HaltedWhileItIsCopiedIsMoved) {
  constexpr std::uint32_t kPasses = 12;
  ASSIGN_OR_SKIP(scene, Scene::make(idle_vm(GetParam(), "work=2M rate=3000 halt=12")));
  ASSERT_OK(scene->receive());
  GodwitOptions options = failing_at("copying", "stop");
  options.arguments = bounded().arguments;
  ASSERT_OK(scene->send(options));
  ASSERT_OK(scene->sender().process().wait_until_stopped(seconds(60)));
  ASSERT_OK(wait_until_halted(scene->source(), kPasses));
  ASSERT_OK(scene->sender().process().send_signal(SIGCONT));
  ASSERT_OK(expect_moved_whole(*scene));
}

INSTANTIATE_TEST_SUITE_P(On, IdleGuest, ::testing::ValuesIn(kAll), name);
INSTANTIATE_TEST_SUITE_P(On, GuestThatGoesIdle, ::testing::ValuesIn(kSome), name);
INSTANTIATE_TEST_SUITE_P(AllLong, GuestThatGoesIdle, ::testing::ValuesIn(kAll), name);

}  // namespace
}  // namespace godwit::testing
