// A guest that writes flat out, slowed in every way that this machine has: it writes less, QEMU answers, it goes on.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/small_files.h"
#include "tests/support/qemu_vm.h"
#include "throttle/throttle.h"
#include "throttle/throttle_keeper.h"
#include "vmm/qemu/qemu_vm.h"
#include "vmm/qemu/vcpu_time.h"

namespace godwit::throttled_guest_test {
namespace {

using std::chrono::milliseconds;
using testing::TestQemu;

// A boot sector: protected mode, then one word in each page from 2 MiB to 448 MiB, over and over; the word counts
// rounds.
constexpr std::array<unsigned char, 86> kWriter = {
    0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0x0f, 0x01, 0x16, 0x50, 0x7c, 0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0,
    0x66, 0xea, 0x1a, 0x7c, 0x00, 0x00, 0x08, 0x00, 0x66, 0xb8, 0x10, 0x00, 0x8e, 0xd8, 0x42, 0xbf, 0x00, 0x00,
    0x20, 0x00, 0x89, 0x17, 0x81, 0xc7, 0x00, 0x10, 0x00, 0x00, 0x81, 0xff, 0x00, 0x00, 0x00, 0x1c, 0x72, 0xf0,
    0xeb, 0xe8, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0x00, 0x00, 0x00, 0x9a, 0xcf, 0x00,
    0xff, 0xff, 0x00, 0x00, 0x00, 0x92, 0xcf, 0x00, 0x17, 0x00, 0x38, 0x7c, 0x00, 0x00};
constexpr std::uint64_t kWrittenFirst = 0x200000;
constexpr std::uint64_t kWrittenEnd = 0x1c000000;
constexpr std::uint64_t kPageBytes = 4096;
constexpr int kTries = 5;

class ThrottledGuest : public ::testing::TestWithParam<ThrottleWay> {
 protected:
  void start() {
    auto folder = testing::TempFolder::make(std::filesystem::temp_directory_path());
    ASSERT_TRUE(folder);
    folder_ = *std::move(folder);
    const auto image = folder_.path() / "boot";
    std::string sector(1 << 20, '\0');
    std::copy(kWriter.begin(), kWriter.end(), sector.begin());
    sector[510] = '\x55';
    sector[511] = '\xaa';
    { std::ofstream(image, std::ios::binary) << sector; }
    testing::QemuOptions options;
    options.size = 512 * kMiB;
    options.cpus = 2;  // the second one stays idle
    options.more = {"-drive", "file=" + image.string() + ",format=raw,if=ide"};
    auto qemu = TestQemu::start(options);
    if (!qemu && qemu.error().kind == ErrorKind::kNotFound) GTEST_SKIP() << qemu.error().message;
    ASSERT_TRUE(qemu) << qemu.error().message;
    qemu_ = *std::move(qemu);
    auto vm = qemu::attach(qemu_->qmp_path().string(), 0, clock_);
    ASSERT_TRUE(vm) << vm.error().message;
    threads_ = qemu::vcpu_threads_here(*vm->qmp, *vm->process);
    ASSERT_EQ(threads_.size(), 2U);
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(goes_on()) << "the writer does not come up";
  }

  std::uint32_t round_at(std::uint64_t page) const {
    std::uint32_t value = 0;
    EXPECT_TRUE(qemu_->read_physical(kWrittenFirst + page * kPageBytes, &value, sizeof value));
    return value;
  }
  /// Pages written so far: whole rounds, and how far this one is.
  std::uint64_t pages_written() const {
    constexpr std::uint64_t kPages = (kWrittenEnd - kWrittenFirst) / kPageBytes;
    const std::uint32_t round = round_at(0);
    std::uint64_t low = 0;
    std::uint64_t high = kPages;  // the first page that has not been written in this round
    while (high - low > 1) {
      const std::uint64_t middle = (low + high) / 2;
      (static_cast<std::int32_t>(round_at(middle) - round) >= 0 ? low : high) = middle;
    }
    return round * kPages + low;
  }
  bool goes_on() const {
    const auto before = round_at(0);
    for (int i = 0; i < 6000 && round_at(0) == before; ++i) std::this_thread::sleep_for(milliseconds(10));
    return round_at(0) != before;
  }
  /// Pages a second, over two seconds.
  double pages_a_second() const {
    const auto began = std::chrono::steady_clock::now();
    const auto before = pages_written();
    std::this_thread::sleep_for(milliseconds(2000));
    const auto written = pages_written() - before;
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - began;
    return static_cast<double>(written) / passed.count();
  }
  struct CpuTime {
    double used = 0;  ///< seconds, of the vCPU that writes
    std::chrono::steady_clock::time_point when;
  };
  CpuTime cpu_time() const {
    const auto text =
        read_small_file(fmt::format("/proc/{}/task/{}/schedstat", qemu_->pid(), threads_[0])).value_or("0");
    return {std::strtod(text.c_str(), nullptr) / 1e9, std::chrono::steady_clock::now()};
  }
  double share_since(const CpuTime& before) const {
    const CpuTime now = cpu_time();
    return (now.used - before.used) / std::chrono::duration<double>(now.when - before.when).count();
  }
  std::string groups() const {
    std::string text;
    for (const pid_t thread : threads_) {
      text += read_small_file(fmt::format("/proc/{}/task/{}/cgroup", qemu_->pid(), thread)).value_or("") + "\n";
    }
    return text;
  }
  /// The longest of ten rounds of `stop` and `cont`, milliseconds; the guest has to write in between.
  double stop_and_cont() const {
    std::chrono::duration<double, std::milli> longest{};
    for (int i = 0; i < 10; ++i) {
      const auto began = std::chrono::steady_clock::now();
      const Status stopped = qemu_->stop();
      EXPECT_TRUE(stopped) << stopped.error().message;
      EXPECT_EQ(qemu_->status().value_or(""), "paused");
      const auto written = pages_written();
      std::this_thread::sleep_for(milliseconds(30));
      EXPECT_EQ(pages_written(), written) << "it writes although it is paused";
      const Status went_on = qemu_->go_on();
      EXPECT_TRUE(went_on) << went_on.error().message;
      longest = std::max<decltype(longest)>(longest, std::chrono::steady_clock::now() - began - milliseconds(30));
      for (int k = 0; k < 1000 && pages_written() == written; ++k) std::this_thread::sleep_for(milliseconds(5));
      EXPECT_NE(pages_written(), written) << "it does not go on";
    }
    return longest.count();
  }

  const SteadyClock clock_;
  testing::TempFolder folder_;
  std::unique_ptr<TestQemu> qemu_;
  std::vector<pid_t> threads_;
};

INSTANTIATE_TEST_SUITE_P(All, ThrottledGuest,
                         ::testing::Values(ThrottleWay::kCgroupV2, ThrottleWay::kCgroupV1, ThrottleWay::kPtrace),
                         [](const auto& way) {
                           std::string name(name_of(way.param));
                           std::erase(name, '-');
                           return name;
                         });

TEST_P(ThrottledGuest, WritesLessAndGoesOn) {
  start();
  if (IsSkipped() || HasFatalFailure()) return;
  const std::string before = groups();
  auto keeper = ThrottleKeeper::start();
  ASSERT_TRUE(keeper);
  const std::string state = (folder_.path() / "state").string();
  auto throttle =
      Throttle::make(qemu_->pid(), threads_, {.state_folder = state, .keeper = keeper->get(), .only = GetParam()});
  if (!throttle) GTEST_SKIP() << throttle.error().message;

  // Other work on this machine makes one time slower than another: what must show, shows at one time or another.
  double free = 0;
  double fifth = 0;
  double twentieth = 0;
  bool busy_machine = false;
  for (int tries = 0; tries < kTries && !(twentieth > 0 && fifth < free * 0.5 && twentieth < fifth * 0.6); ++tries) {
    ASSERT_TRUE((*throttle)->set(1));
    const auto before_free = cpu_time();
    free = pages_a_second();
    busy_machine = share_since(before_free) < 0.5;
    ASSERT_TRUE((*throttle)->set(0.2));
    const auto before_share = cpu_time();
    fifth = pages_a_second();
    EXPECT_LT(share_since(before_share), 0.2 * 1.3 + 0.02);
    ASSERT_TRUE((*throttle)->set(0.05));
    twentieth = pages_a_second();
  }
  EXPECT_GT(twentieth, 0);
  if (!busy_machine) {
    EXPECT_LT(fifth, free * 0.5);
    EXPECT_LT(twentieth, fifth * 0.6);
  }
  const double throttled_wait = stop_and_cont();

  const Status released = (*throttle)->release();
  ASSERT_TRUE(released) << released.error().message;
  EXPECT_EQ(groups(), before);
  EXPECT_TRUE(names_in(state).empty());
  const double released_wait = stop_and_cont();
  double after = 0;
  for (int tries = 0; tries < 2 * kTries && after < fifth * 1.5; ++tries) after = pages_a_second();
  busy_machine |= after < fifth * 1.5;
  fmt::print(
      "pages/s: free {:.0f}, 0.2: {:.0f}, 0.05: {:.0f}, released {:.0f}; longest stop + cont: throttled {:.1f} ms, "
      "released {:.1f} ms\n",
      free, fifth, twentieth, after, throttled_wait, released_wait);
}

}  // namespace
}  // namespace godwit::throttled_guest_test
