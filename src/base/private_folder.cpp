#include "base/private_folder.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <filesystem>
#include <utility>

namespace godwit {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrivatePrefix = "ssh-";

/// Nothing where somebody else holds it, or it is not a folder.
UniqueFd lock_folder(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (fd && ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) fd.reset();
  return fd;
}

/// What a process that was killed has left: nobody holds it.
void remove_abandoned(const std::string& parent) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(parent, ignored)) {
    if (!entry.path().filename().native().starts_with(kPrivatePrefix)) continue;
    struct stat found {};
    if (::lstat(entry.path().c_str(), &found) != 0 || found.st_uid != ::geteuid()) continue;
    if (lock_folder(entry.path())) fs::remove_all(entry.path(), ignored);
  }
}

}  // namespace

Result<PrivateFolder> PrivateFolder::make(const std::string& parent) {
  std::error_code error;
  fs::create_directories(parent, error);
  if (error) return fail(os_error("make " + parent, error.value()));
  remove_abandoned(parent);
  const std::string pattern = parent + "/" + std::string(kPrivatePrefix) + "XXXXXX";
  // Before it is locked somebody who makes one at the same time may take it for abandoned: then it is made again.
  for (int i = 0; i < 10; ++i) {
    std::string path = pattern;
    if (::mkdtemp(path.data()) == nullptr) return fail_os("make a folder in " + parent);
    PrivateFolder made;
    made.lock_ = lock_folder(path);
    if (made.lock_ && fs::exists(path, error)) {
      made.path_ = std::move(path);
      return made;
    }
  }
  return fail(ErrorKind::kIo, "make a folder in " + parent + ": others remove it at once");
}

PrivateFolder::PrivateFolder(PrivateFolder&& other) noexcept
    : path_(std::exchange(other.path_, {})), lock_(std::move(other.lock_)) {}

void PrivateFolder::remove() noexcept {
  std::error_code ignored;
  if (!path_.empty()) fs::remove_all(path_, ignored);
  path_.clear();
  lock_.reset();
}

}  // namespace godwit
