// Looks at image files in a process of its own, for as long as they answer.
//
// A file on a server that is gone lets nobody go who asks for it: open, stat and read wait for it, some of them even
// against SIGKILL, and a program cannot end while one of its threads waits so. So a child asks, which holds nothing of
// ours open, and is left behind if it does not come back.
//
//   this process --fork--> child: open, stat, read ... --memory that both share--> what it found, file by file
//        \--- no file for a while: SIGKILL; the file that it was at is silent; another child goes on with the next
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "attach/remote_process.h"
#include "base/clock.h"
#include "vm/disk.h"

namespace godwit::qemu {

/// A file, as this process can open it, and which pieces of it are wanted.
struct ImageQuestion {
  std::string path;
  std::uint64_t parts = 0;             ///< a piece with data in each of so many equal parts of it
  std::vector<std::uint64_t> offsets;  ///< or the pieces at these places
  std::uint64_t key = 0;               ///< of their hashes
  bool drop_cache = false;             ///< its pages leave this host's page cache, once they are on its storage
};

struct ImageAnswer {
  enum class State {
    kSilent,  ///< its storage did not answer in time
    kFailed,  ///< it cannot be opened, or is not what the process has open
    kLookedAt
  };
  State state = State::kSilent;
  std::uint32_t mode = 0;
  std::uint64_t device = 0;   ///< st_dev
  std::uint64_t special = 0;  ///< st_rdev
  std::uint64_t inode = 0;
  std::uint64_t file_system = 0;     ///< its magic number; 0: not told
  std::vector<ImageSample> samples;  ///< with `parts`: those with data; with `offsets`: one for each
};

/// An answer for each question. Files that `process` does not have open under whatever name are kFailed. Takes at most
/// some seconds, whatever does not answer.
std::vector<ImageAnswer> look_at_images(const RemoteProcess& process, const std::vector<ImageQuestion>& questions);

}  // namespace godwit::qemu
