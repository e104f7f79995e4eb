// What a guest lacks, on record: read back as it was written, and never taken for something else.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/small_files.h"
#include "engine/journal.h"
#include "engine/missing_placer.h"
#include "tests/support/fake_missing_pages.h"

namespace godwit::missing_record_test {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

MissingRecord some_record() {
  MissingRecord record{.id = "abc123", .vm_name = "web \"1\"", .where = R"({"userfaultfd": 7})", .direct = true};
  record.blocks = {{.name = "pc.ram", .size = 3 * kChunkSize}, {.name = "vga", .size = kChunkSize / 2}};
  record.words = {1, 0, ~PageWord{0}, 0xff};
  return record;
}

class Folder {
 public:
  Folder() { EXPECT_NE(::mkdtemp(path_.data()), nullptr); }
  ~Folder() { fs::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_ = fs::temp_directory_path() / "godwit-missing-XXXXXX";
};

VmProcess this_process() {
  return {::getpid(), read_start_time(::getpid()).value()};
}

class MissingRecordFile : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(write_missing_record(path_, some_record())); }
  void change(std::streamoff at, char to) {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(at);
    file.put(to);
  }
  void expect_refused() {
    const auto read = read_missing_record(path_);
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().kind, ErrorKind::kRefused);
    EXPECT_THAT(read.error().message, HasSubstr("is not a whole record of this version"));
  }
  Folder folder_;
  std::string path_ = folder_.path() + "/1-1-boot.missing";
};

TEST_F(MissingRecordFile, IsReadAsItWasWritten) {
  const auto read = read_missing_record(path_);
  ASSERT_TRUE(read) << read.error().message;
  const auto wrote = some_record();
  EXPECT_EQ(read->id, wrote.id);
  EXPECT_EQ(read->vm_name, wrote.vm_name);
  EXPECT_EQ(read->where, wrote.where);
  EXPECT_TRUE(read->direct);
  ASSERT_EQ(read->blocks.size(), 2U);
  EXPECT_EQ(read->blocks[1].name, "vga");
  EXPECT_EQ(read->blocks[1].size, kChunkSize / 2);
  EXPECT_EQ(read->words, wrote.words);
}

TEST_F(MissingRecordFile, IsRefusedWhereverItIsTorn) {
  const auto whole = fs::file_size(path_);
  for (std::uintmax_t left = 0; left < whole; left += 5) {
    ASSERT_TRUE(write_missing_record(path_, some_record()));
    fs::resize_file(path_, left);
    SCOPED_TRACE(left);
    expect_refused();
  }
}

TEST_F(MissingRecordFile, IsRefusedWhereABitHasChanged) {
  constexpr std::streamoff kWordsAt = kPageSize;
  change(kWordsAt + 4 * sizeof(PageWord) - 1, 1);
  expect_refused();
  ASSERT_TRUE(write_missing_record(path_, some_record()));
  change(110, '~');
  expect_refused();
}

TEST_F(MissingRecordFile, KnowsWhatIsMissingBesides) {
  ASSERT_TRUE(add_to_missing_record(path_, std::vector<MissingBesides>{{ChunkIndex{0}, 6}, {ChunkIndex{1}, 1}}));
  const auto read = read_missing_record(path_);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->words, (std::vector<PageWord>{7, 1, ~PageWord{0}, 0xff}));
  const auto whole = fs::file_size(path_);
  map_arrived(path_).value().set(ChunkIndex{1}, 1);
  EXPECT_EQ(fs::file_size(path_), whole);
  const std::vector<std::pair<std::streamoff, char>> changes{{-1, 1}, {-32, 3}, {-40, 5}, {-48, 9}};
  for (const auto& [at, to] : changes) {
    SCOPED_TRACE(at);
    std::ifstream file(path_, std::ios::binary);
    file.seekg(static_cast<std::streamoff>(whole) + at);
    const char before = static_cast<char>(file.get());
    change(static_cast<std::streamoff>(whole) + at, to);
    expect_refused();
    change(static_cast<std::streamoff>(whole) + at, before);
  }
  fs::resize_file(path_, whole - 1);
  EXPECT_FALSE(read_missing_record(path_));
}

/// Another version that looked elsewhere would find no count there and take it for nothing missing besides: whoever
/// moves anything raises the number in the first line.
TEST_F(MissingRecordFile, LiesAsItsVersionSays) {
  constexpr std::streamoff kWordsAt = kPageSize, kArrivedAt = 2 * kPageSize, kCountAt = kArrivedAt + 48;
  ASSERT_TRUE(add_to_missing_record(path_, std::vector<MissingBesides>{{ChunkIndex{0}, 6}, {ChunkIndex{1}, 1}}));
  map_arrived(path_).value().set(ChunkIndex{1}, 5);
  std::ifstream file(path_, std::ios::binary);
  std::string version(17, ' ');
  file.read(version.data(), static_cast<std::streamsize>(version.size()));
  EXPECT_EQ(version, "godwit missing 4 ");
  const auto number_at = [&](std::streamoff at) {
    std::uint64_t number = 0;
    file.seekg(at);
    file.read(reinterpret_cast<char*>(&number), sizeof number);
    return number;
  };
  EXPECT_EQ(number_at(kWordsAt), some_record().words[0]);
  EXPECT_EQ(number_at(kArrivedAt + 8), 5U);
  EXPECT_EQ(number_at(kCountAt), 2U);
  EXPECT_EQ(number_at(kCountAt + 16), 0U);
  EXPECT_EQ(number_at(kCountAt + 24), 6U);
}

/// Its writer was killed before it had counted them.
TEST_F(MissingRecordFile, IsAsItWasUntilAllIsAdded) {
  const auto before = fs::file_size(path_);
  ASSERT_TRUE(add_to_missing_record(path_, std::vector<MissingBesides>{{ChunkIndex{0}, 6}}));
  for (std::uintmax_t at = before - 16; at < before; ++at) change(static_cast<std::streamoff>(at), 0);
  for (const int more : {16, 7, 0}) {
    fs::resize_file(path_, before + static_cast<std::uintmax_t>(more));
    const auto read = read_missing_record(path_);
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(read->words, some_record().words);
    EXPECT_TRUE(map_arrived(path_));
  }
}

/// The guest is paused then.
TEST_F(MissingRecordFile, HardlyAnythingIsWrittenToAddToIt) {
  MissingRecord large = some_record();
  constexpr std::uint64_t kChunks = 100'000;
  large.blocks = {{.name = "pc.ram", .size = kChunks * kChunkSize}};
  large.words.assign(kChunks, ~PageWord{0});
  const auto written = [] {
    std::ifstream file("/proc/thread-self/io");
    std::string name;
    std::uint64_t value = 0;
    while (file >> name >> value) {
      if (name == "wchar:") return value;
    }
    return ~std::uint64_t{0};
  };
  const auto at_first = written();
  if (at_first == ~std::uint64_t{0}) GTEST_SKIP() << "this kernel does not count what a thread writes";
  ASSERT_TRUE(write_missing_record(path_, large));
  const auto ahead = written();
  EXPECT_GT(ahead - at_first, kChunks * sizeof(PageWord));
  ASSERT_TRUE(add_to_missing_record(path_, std::vector<MissingBesides>{{ChunkIndex{5}, 6}, {ChunkIndex{70'000}, 1}}));
  EXPECT_LT(written() - ahead, 100U);
}

TEST_F(MissingRecordFile, IsRefusedInAnotherVersion) {
  change(std::string_view("godwit missing ").size(), '1');
  expect_refused();
}

TEST_F(MissingRecordFile, IsRefusedIfItsWordsAreNotThoseOfItsBlocks) {
  auto record = some_record();
  record.words.push_back(1);
  ASSERT_TRUE(write_missing_record(path_, record));
  expect_refused();
}

TEST_F(MissingRecordFile, WithoutWordsSaysThatNothingIsMissing) {
  auto record = some_record();
  record.words.clear();
  ASSERT_TRUE(write_missing_record(path_, record));
  const auto read = read_missing_record(path_);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_TRUE(read->words.empty());
}

/// Whoever comes after a process that was killed finds it: the file has it, and no memory of that process.
TEST_F(MissingRecordFile, KnowsWhatHasComeSince) {
  {
    auto arrived = map_arrived(path_);
    ASSERT_TRUE(arrived) << arrived.error().message;
    EXPECT_EQ(arrived->chunks(), 4U);
    EXPECT_EQ(arrived->word(ChunkIndex{2}), 0U);
    arrived->set(ChunkIndex{2}, 5);
    const auto other = map_arrived(path_);
    ASSERT_TRUE(other);
    EXPECT_EQ(other->word(ChunkIndex{2}), 5U);
    arrived->set(ChunkIndex{2}, 2);
    EXPECT_EQ(other->word(ChunkIndex{2}), 7U);
  }
  EXPECT_EQ(map_arrived(path_).value().word(ChunkIndex{2}), 7U);
  EXPECT_FALSE(map_arrived(path_).value().finished());
  EXPECT_EQ(read_missing_record(path_).value().words, some_record().words);
}

TEST_F(MissingRecordFile, ForgetsWhatHasComeWithTheNextGuest) {
  map_arrived(path_).value().set(ChunkIndex{0}, 1);
  ASSERT_TRUE(write_missing_record(path_, some_record()));
  EXPECT_EQ(map_arrived(path_).value().word(ChunkIndex{0}), 0U);
}

/// Of a guest of four chunks.
struct Placing {
  static constexpr unsigned kHardlyAny = 100'000;
  RamLayout layout = RamLayout::make({{.name = "pc.ram", .size = 4 * kChunkSize}}).value();
  godwit::testing::PlainMemory memory{layout};
  godwit::testing::MissingPagesSeen seen;
  godwit::testing::FakeMissingPages pages{memory, seen, kHardlyAny};
  MissingPlacer placer{pages, layout, [] {}};
};

TEST_F(MissingRecordFile, IsMarkedByWhoeverPutsPagesInPlace) {
  Placing placing;
  MissingPlacer& placer = placing.placer;
  ASSERT_TRUE(placer.add({.first = ChunkIndex{0}, .words = {7, 0, 0, 1}}));
  placer.mark_in(map_arrived(path_).value());
  ASSERT_TRUE(placer.begin());
  const std::vector<std::byte> page(kPageSize);
  ASSERT_TRUE(placer.place(ChunkIndex{0}, 2, page));
  ASSERT_TRUE(placer.discard(ChunkIndex{3}, 1));
  const auto arrived = map_arrived(path_);
  ASSERT_TRUE(arrived);
  EXPECT_EQ(arrived->word(ChunkIndex{0}), 2U);
  EXPECT_EQ(arrived->word(ChunkIndex{3}), 1U);
}

/// Of what was taken away ahead nothing is written once more.
TEST(MissingBesides, AreThoseThatAreAddedAfterTheBeginning) {
  Placing placing;
  MissingPlacer& placer = placing.placer;
  ASSERT_TRUE(placer.add({.first = ChunkIndex{0}, .words = {7, 0, 0, 1}}));
  ASSERT_TRUE(placer.begin());
  EXPECT_TRUE(placer.besides().empty());
  ASSERT_TRUE(placer.add({.first = ChunkIndex{0}, .words = {3, 0, 8}}));
  ASSERT_TRUE(placer.add({.first = ChunkIndex{3}, .words = {3}}));
  ASSERT_EQ(placer.besides().size(), 2U);
  EXPECT_EQ(placer.besides()[0].chunk.value, 2U);
  EXPECT_EQ(placer.besides()[0].pages, 8U);
  EXPECT_EQ(placer.besides()[1].chunk.value, 3U);
  EXPECT_EQ(placer.besides()[1].pages, 2U);
  ASSERT_TRUE(placer.begin());
  ASSERT_TRUE(placer.add({.first = ChunkIndex{1}, .words = {1, 24}}));
  ASSERT_EQ(placer.besides().size(), 3U);
  EXPECT_EQ(placer.besides()[0].chunk.value, 1U);
  EXPECT_EQ(placer.besides()[0].pages, 1U);
  EXPECT_EQ(placer.besides()[1].chunk.value, 2U);
  EXPECT_EQ(placer.besides()[1].pages, 24U) << "what two maps told of a chunk is added to the record at once";
  EXPECT_EQ(placer.besides()[2].chunk.value, 3U);
  EXPECT_EQ(placer.besides()[2].pages, 2U);
}

TEST(JournalOfALackingGuest, KeepsWhatIsMissingUntilAllIsOver) {
  const Folder folder;
  const VmProcess vm = this_process();
  const std::string missing = missing_record_path(journal_path(folder.path(), vm).value());
  {
    auto journal = Journal::open(folder.path(), vm).value();
    ASSERT_TRUE(journal.receiving());
    ASSERT_TRUE(journal.name_migration("abc123"));
    ASSERT_TRUE(journal.keep_missing(some_record()));
    ASSERT_TRUE(journal.keep_missing_besides(std::vector<MissingBesides>{{ChunkIndex{1}, 9}}));
    ASSERT_TRUE(journal.starting_early());
  }
  auto journal = Journal::open(folder.path(), vm).value();
  EXPECT_EQ(journal.found(), Journal::State::kLacking);
  auto words = some_record().words;
  words[1] |= 9;
  EXPECT_EQ(journal.missing().value().words, words);
  ASSERT_TRUE(journal.nothing_missing());
  EXPECT_TRUE(journal.missing().value().words.empty());
  journal.clear();
  EXPECT_FALSE(fs::exists(missing));
}

TEST(JournalOfALackingGuest, IsNotBelievedWithTheRecordOfAnotherMove) {
  const Folder folder;
  {
    auto journal = Journal::open(folder.path(), this_process()).value();
    ASSERT_TRUE(journal.receiving());
    ASSERT_TRUE(journal.name_migration("def456"));
    ASSERT_TRUE(journal.keep_missing(some_record()));
    ASSERT_TRUE(journal.starting_early());
  }
  const auto journal = Journal::open(folder.path(), this_process()).value();
  const auto read = journal.missing();
  ASSERT_FALSE(read);
  EXPECT_THAT(read.error().message, HasSubstr("of another migration"));
}

TEST(JournalOfALackingGuest, GoesWithItsProcess) {
  const Folder folder;
  const VmProcess gone{::getpid(), this_process().start_time + 1};
  const std::string missing = missing_record_path(journal_path(folder.path(), gone).value());
  {
    auto journal = Journal::open(folder.path(), gone).value();
    ASSERT_TRUE(journal.receiving());
    ASSERT_TRUE(journal.keep_missing(some_record()));
  }
  ASSERT_TRUE(fs::exists(missing));
  remove_stale_journals(folder.path());
  EXPECT_FALSE(fs::exists(missing));
}

}  // namespace
}  // namespace godwit::missing_record_test
