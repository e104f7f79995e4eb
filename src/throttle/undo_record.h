// What a throttle has changed in control groups, and how to undo it: text in a file, for whoever comes after us.
//
//   godwit-throttle 1
//   boot BOOT-ID
//   qemu PID START-TIME
//   engine PID START-TIME
//   remove VERSION FOLDER                       a group of ours: its threads go to the group above
//   restore VERSION QUOTA PERIOD BURST FOLDER   a group of others': its limit as before; quota -1: none
//   withdraw FOLDER                             the cpu controller had not been enabled for groups below this one
//
// Written, and on disk, before anything is changed; undone in this order, as often as one likes: what has been undone
// is not touched again. Safe when QEMU's pid has been given to another process: only groups that have our name are
// removed, and only limits that have our period are put back.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "throttle/cpu_quota.h"

namespace godwit {

/// Names a process for as long as the host is up: a pid alone is given out again.
struct ProcessName {
  pid_t pid = 0;
  std::uint64_t start_time = 0;
};
/// kNotFound if there is no such process.
Result<ProcessName> name_process(pid_t pid);
/// Alive, and not only a zombie.
bool is_alive(const ProcessName& process);

struct UndoRecord {
  struct Remove {
    CgroupVersion version = CgroupVersion::kV1;
    std::string folder;
  };
  struct Restore {
    CgroupVersion version = CgroupVersion::kV1;
    CpuQuota quota;
    std::string folder;
  };
  std::string boot;
  ProcessName qemu;
  ProcessName engine;
  std::vector<Remove> removes;
  std::vector<Restore> restores;
  std::vector<std::string> withdrawals;
};

std::string text_of(const UndoRecord& record);
/// kProtocol if it is not a whole record.
Result<UndoRecord> parse_undo_record(std::string_view text);

/// The name of a new group of ours.
Result<std::string> new_group_name(pid_t qemu);
bool is_group_of_ours(std::string_view folder);

/// Undoes all that can be undone; the first error, if something could not. What is not there any more is not an error.
Status undo(const UndoRecord& record);

/// The record's file. Its folder is made with mode 0700 if it is not there; kRefused if it belongs to another user.
std::string undo_file_of(const std::string& state_folder, const ProcessName& qemu);
Status write_undo_file(const std::string& path, const UndoRecord& record);
Result<UndoRecord> read_undo_file(const std::string& path);
/// Undoes what the file says and removes it, unless something could not be undone. No file: nothing to do.
Status undo_file(const std::string& path);

}  // namespace godwit
