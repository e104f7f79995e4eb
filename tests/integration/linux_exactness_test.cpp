// Exactness with Linux: a guest that holds files' content, random bytes and freed memory, rewrites some of it and
// checks all of it moves to and fro, and never finds a page wrong. What it has free stays behind.
#include <array>

#include "tests/integration/fixture.h"
#include "tests/support/linux_guest.h"

namespace godwit::testing {
namespace {

struct Course {
  const char* name;
  unsigned cpus;
  Ram ram;
  QemuVersion version;
  std::vector<std::string> arguments;
};

void PrintTo(const Course& course, std::ostream* out) {
  *out << course.name;
}

const Course kCourses[] = {
    {"OneCpu", 1, Ram::kFile, QemuVersion::k7_2, {"--codec", "zstd"}},
    {"FourCpus", 4, Ram::kMemfd, QemuVersion::k10_0, {"--codec", "lz4", "--lanes", "3"}},
    {"Private", 2, Ram::kPrivate, QemuVersion::k7_2, {"--codec", "raw"}},
};

/// One load after the other, each at a rate that a TCG guest manages.
constexpr std::array<const char*, 3> kLoads = {"load inplace 2000", "load pages 500", "load random 500"};

void move_once(LinuxGuest& guest, const Course& course) {
  ASSIGN_OR_FAIL(sink, guest.start_destination());
  ASSIGN_OR_FAIL(receiver, start_receive(*sink));
  ASSIGN_OR_FAIL(address, receiver->listening_at());
  GodwitOptions options;
  options.arguments = course.arguments;
  // What is measured here is exactness: a busy machine may take its time. And the link is slow enough that there is
  // something left to send when the guest's free pages have been found.
  options.arguments.insert(options.arguments.end(), {"--max-downtime", "2s", "--bandwidth", "1Gbit"});
  ASSIGN_OR_FAIL(sender, start_send(guest.qemu(), address, options));
  ASSIGN_OR_FAIL(sent, sender->wait(seconds(120)));
  ASSERT_EQ(sent.code, 0) << sender->errors();
  ASSIGN_OR_FAIL(received, receiver->wait(seconds(60)));
  ASSERT_EQ(received.code, 0) << receiver->errors();
  ASSIGN_OR_FAIL(report, sender->report());
  // On a busy machine all may have been sent before the guest's books are found: free_pages_test waits for them.
  const auto found = report.value("free_pages", "none");
  if (found == "found") {
    // The guest has just freed 64 MiB that were full; the look may come when some of it has been sent.
    EXPECT_GT(report.value("pages_free", std::uint64_t{0}), 0U);
  } else {
    EXPECT_EQ(found, "still looking when the guest was stopped");
  }
  EXPECT_EQ(sink->status().value(), "running");
  EXPECT_NE(guest.qemu().status().value(), "running");
  ASSERT_OK(guest.move_into(std::move(sink)));
  ASSERT_OK(guest.expect_well());
}

void run(const Course& course, unsigned hops) {
  LinuxGuestOptions options;
  options.qemu.ram = course.ram;
  options.qemu.size = 512 * kMiB;
  options.qemu.cpus = course.cpus;
  options.qemu.version = course.version;
  ASSIGN_OR_SKIP(guest, LinuxGuest::start(options));
  ASSERT_OK(guest->wait_until_ready());
  for (unsigned hop = 0; hop < hops; ++hop) {
    SCOPED_TRACE("hop " + std::to_string(hop));
    ASSERT_OK(guest->ask("free"));
    ASSERT_OK(guest->ask(kLoads[hop % kLoads.size()]));
    move_once(*guest, course);
    if (::testing::Test::HasFatalFailure()) return;
  }
}

class LinuxExactness : public ::testing::TestWithParam<Course> {};
TEST_P(LinuxExactness, HoldsThereAndBack) {
  run(GetParam(), 2);
}

class LinuxExactnessLong : public ::testing::TestWithParam<Course> {};
TEST_P(LinuxExactnessLong, HoldsTwentyTimesThereAndBack) {
  run(GetParam(), 40);
}

const auto name = [](const auto& tested) { return std::string(tested.param.name); };
INSTANTIATE_TEST_SUITE_P(On, LinuxExactness, ::testing::ValuesIn(kCourses), name);
INSTANTIATE_TEST_SUITE_P(On, LinuxExactnessLong, ::testing::ValuesIn(kCourses), name);

}  // namespace
}  // namespace godwit::testing
