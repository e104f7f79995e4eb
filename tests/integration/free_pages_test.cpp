// Free pages of real Linux guests: those that are found are the guest's own free pages, and the guest does not miss
// what they held.
#include "linux_guest/linux_free_pages.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <future>
#include <random>

#include "linux_guest/buddy_walk.h"
#include "linux_guest/free_counts.h"
#include "linux_guest/kernel_check.h"
#include "linux_guest/note_search.h"
#include "service/wiring.h"
#include "tests/integration/fixture.h"
#include "tests/support/linux_guest.h"
#include "vmm/qemu/qemu_vm.h"
#include "vmm/qemu/vcpu_registers.h"

namespace godwit::testing {
namespace {

struct Course {
  const char* name;
  Ram ram = Ram::kMemfd;
  std::uint64_t mebibytes = 512;
  unsigned nodes = 1;
  QemuVersion version = QemuVersion::k7_2;
  const char* cpu_model = "";
  const char* words = "";
  const char* suite = "";
};

void PrintTo(const Course& course, std::ostream* out) {
  *out << course.name;
}

constexpr unsigned kCpus = 2;

// Between the guest's look at its own MemFree and the look from outside: it answers a connection (a thread with its
// stacks, socket buffers), its idle kernel works, and its CPUs keep up to 125 pages a zone each to themselves that are
// not in its sum yet (the kernel's limit for vmstat's per-CPU differences); three zones.
constexpr std::uint64_t kUncertainPages = 1024 + kCpus * 3 * 125;

std::uint64_t count(const std::vector<PageWord>& words) {
  std::uint64_t pages = 0;
  for (const PageWord word : words) pages += page_count(word);
  return pages;
}

/// A guest that is up, and everything that looks at it from outside.
class Subject {
 public:
  static Result<std::unique_ptr<Subject>> start(const Course& course) {
    LinuxGuestOptions options;
    options.qemu.ram = course.ram;
    options.qemu.size = course.mebibytes * kMiB;
    options.qemu.nodes = course.nodes;
    options.qemu.version = course.version;
    options.qemu.cpus = kCpus;
    options.qemu.cpu_model = course.cpu_model;
    options.words = course.words;
    options.suite = course.suite;
    auto subject = std::make_unique<Subject>();
    subject->guest = TRY(LinuxGuest::start(options));
    TRY(subject->guest->wait_until_ready());
    subject->vm = TRY(qemu::attach(subject->guest->qemu().qmp_path(), 0, subject->clock));
    subject->vm.memory = TRY(qemu::open_memory(*subject->vm.process, subject->vm.inspection.blocks));
    subject->renew_finder();
    return subject;
  }
  void renew_finder() {
    finder = make_linux_free_pages(*vm.memory, physical_ranges(vm.inspection),
                                   [this] { return qemu::page_table_roots(*vm.qmp); });
  }

  Result<std::vector<PageWord>> find() {
    std::vector<PageWord> pages(vm.memory->layout().chunk_count(), kAllPages);
    TRY(finder->find(pages));
    auto needed = pages;
    TRY(finder->keep_needed(ChunkIndex{0}, needed));
    for (std::size_t chunk = 0; chunk < pages.size(); ++chunk) pages[chunk] &= ~needed[chunk];
    return pages;
  }

  /// All free pages of a guest that is paused, also those that find() leaves out; and that its own zones count as many.
  Result<std::vector<PageWord>> walk() {
    using namespace linux_guest;
    const auto ranges = physical_ranges(vm.inspection);
    const GuestPhysical physical(*vm.memory, ranges);
    const PageFrames frames(vm.memory->layout(), ranges);
    std::optional<Vmcoreinfo> info;
    const auto visit = [&](std::string_view text) -> Result<bool> {
      const auto parsed = parse_vmcoreinfo(text);
      if (!parsed || !check_kernel(*parsed, physical)) return false;
      if (!check_live(*parsed, physical, TRY(qemu::page_table_roots(*vm.qmp)))) return false;
      info = *parsed;
      return true;
    };
    TRY(search_notes(*vm.memory, {}, visit));
    if (!info) return fail(ErrorKind::kNotFound, "no note");
    GuestPageTable table(physical, root_of(*info));
    const auto sections = TRY(read_sections(info->sections, table, frames.end()));
    StructPages struct_pages(*vm.memory, frames, table, *info, sections, StructPages::Guest::kStopped);
    std::vector<PageWord> pages(vm.memory->layout().chunk_count());
    const std::uint64_t marked = mark_free(*info, sections, frames, struct_pages, pages);
    const auto counted = count_free(*info, table);
    if (!counted || marked != *counted || marked != count(pages)) {
      return fail(ErrorKind::kProtocol, "marked free: " + std::to_string(marked) +
                                            ", in RAM: " + std::to_string(count(pages)) +
                                            ", counted by the zones: " + std::to_string(counted.value_or(0)));
    }
    return pages;
  }

  /// Whatever a page of these holds, it holds something else afterwards.
  Status overwrite(const std::vector<PageWord>& pages) {
    std::vector<std::byte> junk(kChunkSize);
    for (std::uint32_t chunk = 0; chunk < pages.size(); ++chunk) {
      if (pages[chunk] == 0) continue;
      for (std::size_t at = 0; at < junk.size(); at += sizeof(std::uint64_t)) {
        const std::uint64_t word = random();
        std::memcpy(junk.data() + at, &word, sizeof(word));
      }
      TRY(vm.memory->write(ChunkIndex{chunk}, pages[chunk],
                           std::span(junk).first(page_count(pages[chunk]) * kPageSize)));
    }
    return {};
  }

  SteadyClock clock;
  std::unique_ptr<LinuxGuest> guest;
  qemu::QemuVm vm;
  std::unique_ptr<FreePages> finder;
  std::mt19937_64 random{7};
};

/// Pages of `all` that are not among `found` hold one repeated byte, or nothing.
Status expect_uniform(const GuestMemory& memory, const std::vector<PageWord>& all, const std::vector<PageWord>& found) {
  std::array<std::byte, kPageSize> page;
  for (std::uint32_t chunk = 0; chunk < all.size(); ++chunk) {
    Status status;
    for_each_page(all[chunk] & ~found[chunk], [&](unsigned number) {
      const Status read = memory.read(ChunkIndex{chunk}, PageWord{1} << number, page);
      if (!read) status = read;
      if (std::memcmp(page.data(), page.data() + 1, page.size() - 1) != 0) {
        status = fail(ErrorKind::kProtocol, "page " + std::to_string(number) + " of chunk " + std::to_string(chunk) +
                                                " is free, holds something, and was not found");
      }
    });
    TRY(std::move(status));
  }
  return {};
}

/// Found from outside: exactly the guest's own free pages, except for those that are uniform.
void expect_exact(Subject& subject) {
  ASSIGN_OR_FAIL(own, subject.guest->ask("ping"));
  ASSERT_OK(subject.guest->qemu().stop());
  ASSERT_OK(subject.finder->locate({}, [] {}));
  ASSIGN_OR_FAIL(found, subject.find());
  ASSIGN_OR_FAIL(all, subject.walk());
  const auto own_pages = static_cast<std::int64_t>(own.free_bytes / kPageSize);
  EXPECT_LE(std::abs(own_pages - static_cast<std::int64_t>(count(all))), static_cast<std::int64_t>(kUncertainPages))
      << "the guest's MemFree is " << own_pages << " pages, from outside " << count(all);
  for (std::size_t chunk = 0; chunk < all.size(); ++chunk) ASSERT_EQ(found[chunk] & ~all[chunk], 0u);
  ASSERT_OK(expect_uniform(*subject.vm.memory, all, found));
  auto kept = found;
  subject.finder->keep_free(kept);
  EXPECT_EQ(kept, found) << "the guest is paused";
  ASSERT_OK(subject.guest->qemu().go_on());
}

/// The guest does not notice what happens to its free pages: found while it is paused, or while it runs and then looked
/// at again, after it has had a moment to take and to free some.
void expect_unnoticed(Subject& subject, unsigned cycles, std::uint64_t at_least) {
  ASSERT_TRUE(subject.guest->ask("load pages 2000").has_value());
  ASSERT_TRUE(subject.guest->ask("free").has_value());
  for (unsigned cycle = 0; cycle < cycles; ++cycle) {
    SCOPED_TRACE("cycle " + std::to_string(cycle));
    std::future<bool> freed;
    std::vector<PageWord> pages;
    if (cycle % 2 == 0) {
      ASSIGN_OR_FAIL(found, subject.find());
      EXPECT_GT(count(found), at_least);
      freed = std::async(std::launch::async, [&] { return subject.guest->ask("free").has_value(); });
      nap(milliseconds(10 * (cycle + 1)));
      ASSERT_OK(subject.guest->qemu().stop());
      pages = found;
      subject.finder->keep_free(pages);
    } else {
      ASSERT_OK(subject.guest->qemu().stop());
      ASSIGN_OR_FAIL(found, subject.find());
      EXPECT_GT(count(found), at_least);
      pages = found;
    }
    ASSERT_OK(subject.overwrite(pages));
    ASSERT_OK(subject.guest->qemu().go_on());
    EXPECT_TRUE(!freed.valid() || freed.get());
    ASSERT_OK(subject.guest->expect_well());
  }
}

void run(const Course& course, unsigned cycles) {
  ASSIGN_OR_SKIP(subject, Subject::start(course));
  expect_exact(*subject);
  if (::testing::Test::HasFatalFailure()) return;
  // The guest has freed 64 MiB that were full.
  expect_unnoticed(*subject, cycles, 32 * kMiB / kPageSize);
}

class FreePagesOf : public ::testing::TestWithParam<Course> {};
TEST_P(FreePagesOf, ARealGuestAreExactAndUnmissed) {
  run(GetParam(), 4);
}
class FreePagesOfLong : public ::testing::TestWithParam<Course> {};
TEST_P(FreePagesOfLong, ARealGuestAreExactAndUnmissed) {
  run(GetParam(), 25);
}

const auto name = [](const auto& tested) { return std::string(tested.param.name); };
constexpr const char* kFiveLevels = "qemu64,-cx16,+la57";
constexpr const char* kBackports = "bookworm-backports";
INSTANTIATE_TEST_SUITE_P(On, FreePagesOf,
                         ::testing::Values(Course{"OneNode", Ram::kMemfd},
                                           Course{"TwoNodesAboveFourGiB", Ram::kFile, 5120, 2, QemuVersion::k10_0,
                                                  kFiveLevels, "pti=on"}),
                         name);
INSTANTIATE_TEST_SUITE_P(
    On, FreePagesOfLong,
    ::testing::Values(Course{"OneNode", Ram::kMemfd}, Course{"Private", Ram::kPrivate, 768},
                      Course{"TwoNodesAboveFourGiB", Ram::kFile, 5120, 2, QemuVersion::k7_2, "", "pti=on"},
                      Course{"Kernel6_12", Ram::kMemfd, 768, 2, QemuVersion::k7_2, "", "", kBackports},
                      Course{"Kernel6_12FiveLevels", Ram::kFile, 5120, 1, QemuVersion::k10_0, kFiveLevels, "",
                             kBackports}),
    name);

/// A kernel that clears what is freed wants to find it cleared. (None that can be fetched here poisons it.)
TEST(FreePagesLong, OfAGuestThatClearsThemAreNotFound) {
  ASSIGN_OR_SKIP(subject, Subject::start({"", Ram::kMemfd, 512, 1, QemuVersion::k7_2, "", "init_on_free=1"}));
  ASSERT_TRUE(subject->guest->ask("free").has_value());
  ASSERT_OK(subject->finder->locate({}, [] {}));
  ASSERT_OK(subject->guest->qemu().stop());
  ASSIGN_OR_FAIL(all, subject->walk());
  ASSIGN_OR_FAIL(found, subject->find());
  EXPECT_GT(count(all), 128 * kMiB / kPageSize);
  EXPECT_EQ(count(found), 0u);
}

TEST(FreePages, OfAGuestThatWasResetAreNotFound) {
  ASSIGN_OR_SKIP(subject, Subject::start({"", Ram::kMemfd}));
  ASSERT_OK(subject->finder->locate({}, [] {}));
  ASSIGN_OR_FAIL(before, subject->find());
  EXPECT_GT(count(before), 0u);
  auto& qemu = subject->guest->qemu();
  ASSERT_OK(qemu.stop());
  ASSERT_OK(qemu.monitor().execute("set-action", {{"reboot", "reset"}}));
  ASSERT_OK(qemu.monitor().execute("system_reset"));
  ASSERT_OK(qemu.monitor().wait_for_event("RESET", seconds(10)));
  // The books lie there as they did, with not a byte changed.
  const auto after = subject->find();
  ASSERT_FALSE(after.has_value());
  EXPECT_EQ(after.error().kind, ErrorKind::kUnsupported);
  const Status located = subject->finder->locate({}, [] {});
  ASSERT_FALSE(located.has_value());
  EXPECT_EQ(located.error().kind, ErrorKind::kUnsupported) << located.error().message;
  // The next kernel's books are told from those of the last.
  ASSERT_OK(qemu.go_on());
  ASSERT_OK(subject->guest->wait_until_ready(2));
  expect_exact(*subject);
}

/// No Linux, and firmware only: a reason to read.
TEST(FreePages, OfOtherGuestsAreNotFound) {
  for (const bool kvm : {false, true}) {
    for (const bool with_guest : {false, true}) {
      SCOPED_TRACE(std::string(kvm ? "KVM" : "TCG") + (with_guest ? ", a bare-metal guest" : ", firmware"));
      QemuOptions options;
      options.size = 128 * kMiB;
      options.kvm = kvm;
      if (with_guest) options.guest = guest_image();
      ASSIGN_OR_SKIP(qemu, TestQemu::start(options));
      if (with_guest) ASSERT_OK(wait_for_guest(*qemu));
      const SteadyClock clock;
      ASSIGN_OR_FAIL(vm, qemu::attach(qemu->qmp_path(), 0, clock));
      ASSIGN_OR_FAIL(memory, qemu::open_memory(*vm.process, vm.inspection.blocks));
      const auto finder = make_linux_free_pages(*memory, physical_ranges(vm.inspection),
                                                [&] { return qemu::page_table_roots(*vm.qmp); });
      const Status located = finder->locate({}, [] {});
      ASSERT_FALSE(located.has_value());
      EXPECT_EQ(located.error().kind, ErrorKind::kUnsupported);
      EXPECT_EQ(located.error().message, "no VMCOREINFO note in the guest's memory");
      ASSERT_OK(qemu::page_table_roots(*vm.qmp));
    }
  }
}

}  // namespace
}  // namespace godwit::testing
