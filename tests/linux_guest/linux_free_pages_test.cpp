// Finding free pages in a fake Linux guest: exactly those that its books name, and none where the books do not fit.
#include "linux_guest/linux_free_pages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "tests/support/fake_linux.h"

namespace godwit::linux_free_pages_test {
namespace {

using testing::FakeLinux;
using testing::FakeLinuxOptions;
using ::testing::HasSubstr;
using Frames = std::set<std::uint64_t>;

constexpr std::uint64_t kLow = FakeLinux::kFirstFreeFrame;
constexpr std::uint64_t kHigh = FakeLinux::kHighFrame;

/// The same RAM, but reached by reading only, as another process's private memory is.
class ReadOnlyView final : public GuestMemory {
 public:
  explicit ReadOnlyView(GuestMemory& memory) : memory_(memory) {}
  const RamLayout& layout() const noexcept override { return memory_.layout(); }
  Status read(ChunkIndex chunk, PageWord pages, MutableBytes out) const override {
    EXPECT_EQ(out.size(), page_count(pages) * kPageSize);
    if (broken) return fail(ErrorKind::kPeerLost, "gone");
    ++reads;
    if (on_read) on_read();
    return memory_.read(chunk, pages, out);
  }
  Status write(ChunkIndex, PageWord, Bytes) override { return fail_to_write(); }
  Status fill(ChunkIndex, PageWord, Bytes) override { return fail_to_write(); }
  std::optional<MutableBytes> map(ChunkIndex) noexcept override { return std::nullopt; }
  Status discard(ChunkIndex, PageWord) override { return fail_to_write(); }
  Status populate(ChunkIndex, PageWord) override { return fail_to_write(); }
  Status find_data(ChunkIndex first, std::span<PageWord> out) const override { return memory_.find_data(first, out); }
  Status keep_holes(ChunkIndex first, std::span<PageWord> pages) const override {
    return memory_.keep_holes(first, pages);
  }

  bool broken = false;
  mutable std::uint64_t reads = 0;
  std::function<void()> on_read;

 private:
  static Status fail_to_write() { return fail(ErrorKind::kIo, "not to be written"); }

  GuestMemory& memory_;
};

Frames block(std::uint64_t frame, unsigned order) {
  Frames frames;
  for (std::uint64_t i = 0; i < std::uint64_t{1} << order; ++i) frames.insert(frame + i);
  return frames;
}
Frames operator+(Frames a, const Frames& b) {
  a.insert(b.begin(), b.end());
  return a;
}
Frames operator-(Frames a, std::uint64_t frame) {
  a.erase(frame);
  return a;
}

std::vector<PageWord> words_of(const FakeLinux& linux_guest, const Frames& frames) {
  std::vector<PageWord> words(2 * FakeLinux::kBlock / kChunkSize);
  for (const auto frame : frames) add_pages(words, linux_guest.page_of(frame), 1);
  return words;
}
Frames frames_of(const std::vector<PageWord>& words) {
  Frames frames;
  for (std::size_t chunk = 0; chunk < words.size(); ++chunk) {
    for_each_page(words[chunk], [&](unsigned page) {
      const std::uint64_t number = chunk * kPagesPerChunk + page;
      const std::uint64_t low = FakeLinux::kBlock / kPageSize;
      frames.insert(number < low ? number : number - low + kHigh);
    });
  }
  return frames;
}

/// A guest and a finder on it.
struct Scene {
  explicit Scene(FakeLinuxOptions options = {}, bool mapped = true)
      : guest(options), view(guest.memory()), finder(make(mapped ? guest.memory() : static_cast<GuestMemory&>(view))) {}

  std::unique_ptr<FreePages> make(GuestMemory& memory) {
    return make_linux_free_pages(memory, guest.ranges(), [this]() -> Result<std::vector<std::uint64_t>> {
      ++asked;
      return roots;
    });
  }
  Status locate() {
    return finder->locate({}, [] {});
  }
  Result<Frames> find() {
    std::vector<PageWord> words(guest.memory().layout().chunk_count(), kAllPages);
    const Status status = finder->find(words);
    if (!status) {
      EXPECT_EQ(frames_of(words), Frames{}) << "an error, and pages nevertheless";
      return fail(status.error());
    }
    auto needed = words;
    TRY(finder->keep_needed(ChunkIndex{0}, needed));
    for (std::size_t chunk = 0; chunk < words.size(); ++chunk) words[chunk] &= ~needed[chunk];
    return frames_of(words);
  }
  Frames keep(const Frames& frames) {
    auto words = words_of(guest, frames);
    finder->keep_free(words);
    return frames_of(words);
  }
  std::string reason() {
    const Status status = locate();
    if (status) return "located";
    EXPECT_EQ(status.error().kind, ErrorKind::kUnsupported);
    return status.error().message;
  }

  FakeLinux guest;
  ReadOnlyView view;
  std::vector<std::uint64_t> roots{FakeLinux::kRoot};
  unsigned asked = 0;
  std::unique_ptr<FreePages> finder;
};

struct Kind {
  const char* name;
  FakeLinuxOptions options;
  bool mapped = true;
};
void PrintTo(const Kind& kind, std::ostream* out) {
  *out << kind.name;
}

class OfEachKind : public ::testing::TestWithParam<Kind> {};

TEST_P(OfEachKind, FindsExactlyTheFreePages) {
  Scene scene(GetParam().options, GetParam().mapped);
  Frames expected;
  for (const auto& [frame, order] : std::vector<std::pair<std::uint64_t, unsigned>>{{kLow, 10},
                                                                                    {kLow + 1024, 9},
                                                                                    {kLow + 1536, 0},
                                                                                    {kLow + 1538, 1},
                                                                                    {kLow + 1600, 6},
                                                                                    {kHigh, 0},
                                                                                    {kHigh + 64, 5},
                                                                                    {kHigh + 2048, 10},
                                                                                    {kHigh + 4095, 0}}) {
    scene.guest.make_free(frame, order);
    expected = expected + block(frame, order);
  }
  ASSERT_TRUE(scene.locate()) << scene.reason();
  const auto found = scene.find();
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(*found, expected);
  EXPECT_EQ(scene.keep(expected), expected);
  EXPECT_EQ(scene.keep(block(kHigh + 60, 0) + block(kHigh + 95, 0) + block(kHigh + 96, 0)), block(kHigh + 95, 0));
}

INSTANTIATE_TEST_SUITE_P(LinuxFreePages, OfEachKind,
                         ::testing::Values(Kind{"FourLevels", {}}, Kind{"FiveLevels", {.levels = 5}},
                                           Kind{"SmallPages", {.small_pages = true}}, Kind{"Copied", {}, false},
                                           Kind{"CopiedSmallPages", {.levels = 5, .small_pages = true}, false},
                                           Kind{"PageTypeInTheTopByte", {.free_mapcount = -268435456}},
                                           Kind{"PageTypeUnsigned", {.free_mapcount = 0xf0000000}},
                                           Kind{"EncryptionMask", {.encryption_mask = std::uint64_t{1} << 47}},
                                           Kind{"ManySectionRoots", {.root_entry_size = 2048}},
                                           Kind{"OneNode", {.nodes = false}}),
                         [](const auto& tested) { return std::string(tested.param.name); });

TEST(LinuxFreePages, LeavesOutUniformPagesAndHoles) {
  for (const bool mapped : {true, false}) {
    Scene scene({}, mapped);
    scene.guest.make_free(kLow, 4);
    scene.guest.fill(kLow + 2, std::byte{0xaa});  // poisoned
    scene.guest.fill(kLow + 3, std::byte{0});     // cleared, or a hole
    scene.guest.fill(kLow + 4, std::byte{0xaa});
    scene.guest.put((kLow + 4) * kPageSize + 4095, std::uint8_t{0xab});  // not quite
    ASSERT_TRUE(scene.locate());
    const auto found = scene.find();
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_EQ(*found, block(kLow, 4) - (kLow + 2) - (kLow + 3));
    // What it has looked at once it does not find again.
    std::vector<PageWord> words(scene.guest.memory().layout().chunk_count(), kAllPages);
    ASSERT_TRUE(scene.finder->find(words));
    EXPECT_EQ(frames_of(words), *found);
  }
}

/// What was of one value under the kernel before need not be under the next.
TEST(LinuxFreePages, LooksAtPagesAnewOnceTheBooksHaveBeenLocatedAnew) {
  Scene scene;
  scene.guest.make_free(kLow, 4);
  scene.guest.fill(kLow + 2, std::byte{0xaa});
  ASSERT_TRUE(scene.locate());
  EXPECT_EQ(scene.find().value(), block(kLow, 4) - (kLow + 2));
  scene.guest.put((kLow + 2) * kPageSize + 7, std::uint8_t{1});
  ASSERT_TRUE(scene.locate());
  EXPECT_EQ(scene.find().value(), block(kLow, 4));
}

TEST(LinuxFreePages, BelievesNoHalfMarkedBlock) {
  Scene scene;
  scene.guest.make_free(kLow, 3);
  scene.guest.mark_free(kLow + 16, 11);  // no such order
  scene.guest.mark_free(kLow + 33, 2);   // not aligned
  scene.guest.mark_free(kLow + 64, 2);
  scene.guest.put(scene.guest.struct_page(kLow + 64) + 52, std::uint32_t{1});  // in use
  ASSERT_TRUE(scene.locate());
  const auto found = scene.find();
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(*found, block(kLow, 3));
}

TEST(LinuxFreePages, FindsNothingInASectionThatIsOffline) {
  Scene scene;
  scene.guest.make_free(kLow, 3);
  scene.guest.mark_free(kHigh, 3);
  ASSERT_TRUE(scene.locate());
  ASSERT_FALSE(scene.find()) << "the zones do not count the high block";
  const std::uint64_t entry = 0x148000 + (FakeLinux::kHigh >> FakeLinux::kSectionBits) * 16;
  scene.guest.put(entry, scene.guest.get<std::uint64_t>(entry) & ~std::uint64_t{4});
  const auto found = scene.find();
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(*found, block(kLow, 3));
}

TEST(LinuxFreePages, KeepsWhatMergedOrWasSplit) {
  for (const bool mapped : {true, false}) {
    Scene scene({}, mapped);
    scene.guest.make_free(kHigh + 8, 3);   // will merge with its lower neighbour
    scene.guest.make_free(kHigh + 64, 6);  // will be split: its first quarter is taken
    scene.guest.make_free(kHigh + 256, 2);
    ASSERT_TRUE(scene.locate());
    const auto found = scene.find();
    ASSERT_TRUE(found) << found.error().message;
    scene.guest.mark_used(kHigh + 8);
    scene.guest.mark_free(kHigh, 4);
    scene.guest.mark_used(kHigh + 64);
    scene.guest.mark_free(kHigh + 80, 4);
    scene.guest.mark_free(kHigh + 96, 5);
    scene.guest.mark_used(kHigh + 256);
    EXPECT_EQ(scene.keep(*found), block(kHigh + 8, 3) + block(kHigh + 80, 4) + block(kHigh + 96, 5));
  }
}

TEST(LinuxFreePages, KeepAsksNoMoreThanItMust) {
  Scene scene({}, false);
  scene.guest.make_free(kHigh, 10);
  scene.guest.make_free(kLow, 5);
  ASSERT_TRUE(scene.locate());
  const unsigned asked = scene.asked;
  scene.view.reads = 0;
  scene.keep(block(kHigh, 10));
  EXPECT_EQ(scene.asked, asked) << "the guest is paused: no time for its vCPUs";
  EXPECT_LT(scene.view.reads, 40u);
  // All of it taken since: as few.
  scene.guest.make_used(kHigh, 10);
  scene.view.reads = 0;
  EXPECT_EQ(scene.keep(block(kHigh, 10)), Frames{});
  EXPECT_LT(scene.view.reads, 100u);
}

TEST(LinuxFreePages, KeepsNothingIfTheBooksAreGone) {
  Scene scene({}, false);
  scene.guest.make_free(kLow, 5);
  EXPECT_EQ(scene.keep(block(kLow, 5)), Frames{}) << "nothing located";
  ASSERT_TRUE(scene.locate());
  ASSERT_EQ(scene.keep(block(kLow, 5)), block(kLow, 5));
  scene.view.broken = true;
  EXPECT_EQ(scene.keep(block(kLow, 5)), Frames{});
  scene.view.broken = false;
  scene.guest.put_text(0x140000, "BSD");
  EXPECT_EQ(scene.keep(block(kLow, 5)), Frames{});
}

TEST(LinuxFreePages, TrustsNoBooksThatDoNotAddUp) {
  Scene scene;
  scene.guest.make_free(kLow, 10);
  ASSERT_TRUE(scene.locate());
  ASSERT_TRUE(scene.find());
  scene.guest.mark_free(kHigh, 0);  // one marked page more than the zones count
  const auto more = scene.find();
  ASSERT_FALSE(more);
  EXPECT_EQ(more.error().kind, ErrorKind::kUnsupported);
  EXPECT_THAT(more.error().message, HasSubstr("contradict"));
  scene.guest.count_free(0, 101);  // some fewer: freed while we looked
  EXPECT_TRUE(scene.find());
  scene.guest.count_free(10, 2);  // far fewer
  EXPECT_FALSE(scene.find());
  scene.guest.count_free(10, -4);  // a number that no machine has pages for
  const auto nonsense = scene.find();
  ASSERT_FALSE(nonsense);
  EXPECT_THAT(nonsense.error().message, HasSubstr("zones cannot be read"));
}

TEST(LinuxFreePages, BelievesNoBlockThatChangesWhileItIsRead) {
  Scene scene({}, false);
  scene.guest.make_free(kLow, 5);
  ASSERT_TRUE(scene.locate());
  // Each look finds the order other than the last one did.
  scene.view.on_read = [&, order = 0u]() mutable { scene.guest.mark_free(kLow, ++order % 2 == 0 ? 5 : 4); };
  const auto found = scene.find();
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(*found, Frames{});
}

TEST(LinuxFreePages, FindsTheElfNoteToo) {
  Scene scene;
  scene.guest.make_free(kLow, 3);
  const std::string text = scene.guest.note_text();
  std::memset(scene.guest.memory().at(ChunkIndex{FakeLinux::kNote / kChunkSize}, 16), 0, kPageSize);
  EXPECT_EQ(scene.reason(), "no VMCOREINFO note in the guest's memory");
  // The page at the end of a chunk; what the head takes of it makes the text end in the next chunk.
  const std::string head = text.substr(0, text.find('\n') + 1), tail = text.substr(head.size());
  const std::string padding = "PADDING=" + std::string(4096 - text.size() - 9, 'x') + "\n";
  const std::uint64_t at = 0x340000 - kPageSize;
  scene.guest.put(at, std::uint32_t{11});
  scene.guest.put(at + 4, std::uint32_t{4096});
  scene.guest.put_text(at + 12, "VMCOREINFO");
  scene.guest.put_text(at + 24, head + padding + tail);
  EXPECT_EQ(scene.reason(), "located");
  scene.guest.put(at + 4, std::uint32_t{4095});
  EXPECT_EQ(scene.reason(), "the note is cut off");
  scene.guest.put(at + 4, ~std::uint32_t{0});
  EXPECT_EQ(scene.reason(), "located");
}

TEST(LinuxFreePages, AsksTheVcpus) {
  Scene scene;
  scene.guest.make_free(kLow, 3);
  scene.roots = {};
  EXPECT_THAT(scene.reason(), HasSubstr("no vCPU"));
  scene.roots = {FakeLinux::kRoot, 0x300000};
  EXPECT_THAT(scene.reason(), HasSubstr("a vCPU does not run the kernel 6.1.0-test"));
  scene.roots = {FakeLinux::kRoot, ~std::uint64_t{0}};
  EXPECT_THAT(scene.reason(), HasSubstr("a vCPU does not run"));
  // PCID and flags in the low bits; the user's half of a pair.
  scene.roots = {FakeLinux::kRoot | 0x805, FakeLinux::kUserRoot | 0x885};
  EXPECT_EQ(scene.reason(), "located");
  EXPECT_TRUE(scene.find());
  scene.roots = {0x300000};
  const auto found = scene.find();
  ASSERT_FALSE(found) << "the guest was reset since";
  EXPECT_THAT(found.error().message, HasSubstr("does not run the kernel"));
}

TEST(LinuxFreePages, PassesOnWhyTheVcpusCannotBeAsked) {
  FakeLinux guest;
  const auto finder = make_linux_free_pages(guest.memory(), guest.ranges(), []() -> Result<std::vector<std::uint64_t>> {
    return fail(ErrorKind::kPeerLost, "QEMU closed its monitor");
  });
  const Status status = finder->locate({}, [] {});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().kind, ErrorKind::kPeerLost);
}

TEST(LinuxFreePages, GoesOnPastStaleNotes) {
  Scene scene;
  scene.guest.make_free(kLow, 3);
  std::string stale = scene.guest.note_text();
  stale.replace(stale.find("6.1.0-test"), 10, "5.9.0-test");
  scene.guest.put_text(0x110000, stale);           // another kernel's
  scene.guest.put_text(0x120000, "OSRELEASE=\n");  // no kernel's
  scene.guest.put_text(0x130000, "OSRELEASE=1\nPAGESIZE=4096");
  EXPECT_EQ(scene.reason(), "located");
  // Without the right one it is the others' reason that counts.
  std::memset(scene.guest.memory().at(ChunkIndex{FakeLinux::kNote / kChunkSize}, 16), 0, kPageSize);
  EXPECT_EQ(scene.reason(), "the note is cut off");
  EXPECT_FALSE(scene.find());
}

TEST(LinuxFreePages, SaysWhatIsLikelyBeforeTheSearchEnds) {
  Scene scene;
  scene.guest.make_free(kLow, 3);
  // A second note that fits, behind the first one: whoever planted it or the first, neither is to be believed.
  std::string other = scene.guest.note_text();
  const auto line = other.find('\n') + 1;
  scene.guest.put_text(kHigh * kPageSize, other.insert(line, "PLANTED=1\n"));
  unsigned called = 0;
  const Status located = scene.finder->locate({}, [&] {
    ++called;
    const auto found = scene.find();
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_EQ(*found, block(kLow, 3));
  });
  EXPECT_EQ(called, 1u);
  ASSERT_FALSE(located);
  EXPECT_THAT(located.error().message, HasSubstr("two VMCOREINFO notes"));
  EXPECT_FALSE(scene.find());
  EXPECT_EQ(scene.keep(block(kLow, 3)), Frames{});
}

TEST(LinuxFreePages, GivesUpAmongTooManyNotes) {
  Scene scene;
  scene.roots = {0x300000};
  const std::string note = scene.guest.note_text();
  for (std::uint64_t frame = kHigh; frame < kHigh + 400; ++frame) scene.guest.put_text(frame * kPageSize, note);
  EXPECT_EQ(scene.reason(), "too many VMCOREINFO notes in the guest's memory");
  EXPECT_LE(scene.asked, 100u);
}

TEST(LinuxFreePages, BelievesNoNoteAmongTooMany) {
  // The first of them fits; behind all the others there might be one that does, too.
  Scene scene;
  std::string stale = scene.guest.note_text();
  stale.replace(stale.find("6.1.0-test"), 10, "5.9.0-test");
  for (std::uint64_t frame = kHigh; frame < kHigh + 400; ++frame) scene.guest.put_text(frame * kPageSize, stale);
  EXPECT_EQ(scene.reason(), "too many VMCOREINFO notes in the guest's memory");
  EXPECT_FALSE(scene.find());
}

TEST(LinuxFreePages, DoesNotMindCopiesOfTheNote) {
  Scene scene;
  for (std::uint64_t frame = kHigh; frame < kHigh + 400; ++frame) {
    scene.guest.put_text(frame * kPageSize, scene.guest.note_text());
  }
  EXPECT_EQ(scene.reason(), "located");
}

TEST(LinuxFreePages, StopsWhenAsked) {
  Scene scene;
  std::stop_source stop;
  stop.request_stop();
  const Status status = scene.finder->locate(stop.get_token(), [] {});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().kind, ErrorKind::kCancelled);
  EXPECT_FALSE(scene.find());
}

TEST(LinuxFreePages, RefusesOtherSizes) {
  Scene scene;
  scene.guest.make_free(kLow, 3);
  ASSERT_TRUE(scene.locate());
  std::vector<PageWord> words(3, kAllPages);
  EXPECT_FALSE(scene.finder->find(words));
  EXPECT_EQ(words, std::vector<PageWord>(3));
  words.assign(3, kAllPages);
  scene.finder->keep_free(words);
  EXPECT_EQ(words, std::vector<PageWord>(3));
}

TEST(LinuxFreePages, SurvivesPageTablesThatLeadNowhere) {
  // Every entry of the tables in turn points at itself, outside RAM, at all ones: an answer or none, but an end.
  for (const std::uint64_t value :
       {FakeLinux::kRoot | 0x63, ~std::uint64_t{0}, std::uint64_t{1} << 45 | 1, std::uint64_t{0xfffffffff063}}) {
    Scene scene;
    scene.guest.make_free(kLow, 3);
    ASSERT_TRUE(scene.locate());
    for (std::uint64_t at = FakeLinux::kRoot; at < FakeLinux::kRoot + 16 * kPageSize; at += 8) {
      const auto before = scene.guest.get<std::uint64_t>(at);
      if (before == 0) continue;
      scene.guest.put(at, value);
      const auto found = scene.find();
      if (found) {
        EXPECT_TRUE(std::ranges::includes(block(kLow, 3), *found));
      }
      scene.keep(block(kLow, 3) + block(kHigh, 3));
      scene.guest.put(at, before);
    }
    const auto found = scene.find();
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_EQ(*found, block(kLow, 3));
  }
}

}  // namespace
}  // namespace godwit::linux_free_pages_test
