#include "tls/new_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "base/unique_fd.h"

namespace godwit {

namespace {

constexpr std::string_view kUnfinishedFolder = "/.godwit-keygen-XXXXXX";

tl::unexpected<Error> fail_exists(const std::string& path) {
  return fail(ErrorKind::kInvalidArgument, path + " exists already, and is not overwritten", EEXIST);
}

Status write_whole(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return fail_os("write");
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  // A name must not outlive a crash of the host that its file's text did not.
  if (::fsync(fd) != 0) return fail_os("fsync");
  return {};
}

/// What a crash of the host must not take back. Not every file system can: then it is done when it is done.
void sync_folder(const std::string& path) noexcept {
  const UniqueFd folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder) (void)::fsync(folder.get());
}

std::string folder_of(const std::string& path) {
  const auto folder = std::filesystem::path(path).parent_path();
  return folder.empty() ? "." : folder.native();
}

}  // namespace

Status make_file(const std::string& path, std::string_view text, mode_t mode) {
  const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
  if (!file) return errno == EEXIST ? fail_exists(path) : fail_os("make " + path);
  const Status written = write_whole(file.get(), text);
  if (!written) {
    ::unlink(path.c_str());
    return fail(Error(written.error()).in("make " + path));
  }
  sync_folder(folder_of(path));
  return {};
}

Status replace_file(const std::string& path, std::string_view text, mode_t mode) {
  const std::string unfinished = path + ".new";
  // Of a program that died before it gave the file its name.
  ::unlink(unfinished.c_str());
  TRY(make_file(unfinished, text, mode));
  if (::rename(unfinished.c_str(), path.c_str()) != 0) {
    auto failed = fail_os("make " + path);
    ::unlink(unfinished.c_str());
    return failed;
  }
  sync_folder(folder_of(path));
  return {};
}

Status make_folder_if_missing(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return fail_os("make the folder " + path);
  return {};
}

Status expect_nothing_at(const std::string& path) {
  struct stat found {};
  if (::lstat(path.c_str(), &found) == 0) return fail_exists(path);
  if (errno != ENOENT) return fail_os("look for " + path);
  return {};
}

Result<NewFolder> NewFolder::begin(const std::string& parent) {
  std::string path = parent + std::string(kUnfinishedFolder);
  if (::mkdtemp(path.data()) == nullptr) return fail_os("make a folder in " + parent);
  return NewFolder(parent, std::move(path));
}

NewFolder::NewFolder(std::string parent, std::string path) : parent_(std::move(parent)), path_(std::move(path)) {}

NewFolder::NewFolder(NewFolder&& other) noexcept
    : parent_(std::move(other.parent_)), path_(std::exchange(other.path_, {})) {}

NewFolder::~NewFolder() {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
}

Status NewFolder::add(std::string_view name, std::string_view text, mode_t mode) {
  return make_file(path_ + "/" + std::string(name), text, mode);
}

Status NewFolder::finish(const std::string& name) {
  const std::string path = parent_ + "/" + name;
  TRY(expect_nothing_at(path));
  // One that appears in between is replaced only if it is an empty folder.
  if (::rename(path_.c_str(), path.c_str()) != 0) {
    return errno == EEXIST || errno == ENOTEMPTY || errno == ENOTDIR ? fail_exists(path) : fail_os("make " + path);
  }
  path_.clear();
  sync_folder(parent_);
  return {};
}

}  // namespace godwit
