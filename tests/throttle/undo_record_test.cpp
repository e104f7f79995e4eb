// What is to be undone, as text: whole or not at all, and nothing that is not ours.
#include "throttle/undo_record.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "base/small_files.h"
#include "tests/support/godwit_temp_folder.h"
#include "throttle/throttle.h"

namespace godwit::undo_record_test {
namespace {

UndoRecord example() {
  UndoRecord record{.boot = boot_id(), .qemu = {71, 72}, .engine = {1, 74}};
  record.removes.push_back({CgroupVersion::kV2, "/nowhere/a scope/godwit-throttle-71-00ff-0"});
  record.restores.push_back({CgroupVersion::kV1, {50'000, 100'000, 7}, "/nowhere/vcpu0"});
  record.restores.push_back({CgroupVersion::kV2, {std::nullopt, 100'000, 0}, "/nowhere/vcpu1"});
  record.withdrawals.push_back("/nowhere/a scope");
  return record;
}

TEST(UndoRecord, ComesBackFromItsText) {
  const auto record = example();
  const auto read = parse_undo_record(text_of(record));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(text_of(*read), text_of(record));
  EXPECT_EQ(read->qemu.start_time, 72U);
  ASSERT_EQ(read->restores.size(), 2U);
  EXPECT_EQ(read->restores[0].quota, record.restores[0].quota);
  EXPECT_EQ(read->restores[1].quota, record.restores[1].quota);
  EXPECT_EQ(read->removes[0].folder, record.removes[0].folder);
}

/// Of a file that is cut off nothing is undone: half of it could be a shorter path.
TEST(UndoRecord, IsWholeOrNotARecord) {
  const std::string text = text_of(example());
  for (std::size_t length = 0; length < text.size(); ++length) {
    const auto read = parse_undo_record(std::string_view(text).substr(0, length));
    if (read) {
      EXPECT_EQ(text[length - 1], '\n') << length;
    }
  }
  EXPECT_FALSE(parse_undo_record(""));
}

TEST(UndoRecord, NamesOnlyGroupsThatAreOurs) {
  const std::string head = text_of(UndoRecord{.boot = "b", .qemu = {1, 1}, .engine = {1, 1}});
  ASSERT_TRUE(parse_undo_record(head));
  for (const char* line : {"remove 1 /sys/fs/cgroup/cpu/machine.slice\n", "remove 1 /godwit-throttle-1\n",
                           "remove 3 /a/godwit-throttle-1\n", "remove 1 a/godwit-throttle-1\n",
                           "remove 1 /a/../b/godwit-throttle-1\n", "restore 1 x 1 1 /a\n", "restore 1 1 1 /a\n",
                           "withdraw here\n", "erase /a\n", "\n", "qemu 0 1\n", "qemu -4 1\n"}) {
    EXPECT_FALSE(parse_undo_record(head + line)) << line;
  }
}

TEST(UndoRecord, IsAFileThatOnlyItsUserReads) {
  const auto folder = testing::TempFolder::make(std::filesystem::temp_directory_path()).value();
  const std::string state = (folder.path() / "state").string();
  const std::string path = undo_file_of(state, {71, 72});
  ASSERT_TRUE(write_undo_file(path, example()));
  struct stat about {};
  ASSERT_EQ(::stat(state.c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777U, 0700U);
  ASSERT_EQ(::stat(path.c_str(), &about), 0);
  EXPECT_EQ(about.st_mode & 0777U, 0600U);
  const auto read = read_undo_file(path);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(text_of(*read), text_of(example()));
}

TEST(UndoRecord, OfWhatHasGoneIsUndone) {
  const auto folder = testing::TempFolder::make(std::filesystem::temp_directory_path()).value();
  const std::string path = undo_file_of(folder.path().string(), {71, 72});
  ASSERT_TRUE(write_undo_file(path, example()));
  const Status undone = undo_file(path);
  EXPECT_TRUE(undone) << undone.error().message;
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_TRUE(undo_file(path));
}

/// Its groups went with that boot; what has their names now is somebody else's.
TEST(UndoRecord, OfAnEarlierBootTouchesNothing) {
  const auto folder = testing::TempFolder::make(std::filesystem::temp_directory_path()).value();
  const auto group = folder.path() / "godwit-throttle-1-ab-0";
  std::filesystem::create_directory(group);
  UndoRecord record{.boot = "another", .qemu = {1, 1}, .engine = {1, 1}};
  record.removes.push_back({CgroupVersion::kV1, group.string()});
  EXPECT_TRUE(undo(record));
  EXPECT_TRUE(std::filesystem::exists(group));
}

TEST(UndoRecord, ThatCannotBeReadStaysAndIsReported) {
  const auto folder = testing::TempFolder::make(std::filesystem::temp_directory_path()).value();
  const auto path = folder.path() / "1-2.throttle";
  std::ofstream(path) << "godwit-throttle 2\n";
  const auto notes = undo_left_throttles(folder.path().string());
  ASSERT_EQ(notes.size(), 1U);
  EXPECT_NE(notes[0].find(path.string()), std::string::npos) << notes[0];
  EXPECT_TRUE(std::filesystem::exists(path));
}

TEST(UndoRecord, GroupsHaveNamesThatDiffer) {
  const auto one = new_group_name(71);
  const auto other = new_group_name(71);
  ASSERT_TRUE(one && other);
  EXPECT_NE(*one, *other);
  EXPECT_TRUE(is_group_of_ours("/a/" + *one + "-0"));
  EXPECT_FALSE(is_group_of_ours("/a/vcpu0"));
}

}  // namespace
}  // namespace godwit::undo_record_test
