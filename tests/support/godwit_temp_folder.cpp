#include "tests/support/godwit_temp_folder.h"

#include <signal.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <utility>

namespace godwit::testing {
namespace {

constexpr const char* kPrefix = "godwit-test-";

/// Unmounts first: a test that died may have left a file system of its own there.
void remove_folder(const std::filesystem::path& path) noexcept {
  ::umount2(path.c_str(), MNT_DETACH);
  std::error_code ignored;
  std::filesystem::remove_all(path, ignored);
}

void sweep(const std::filesystem::path& base) {
  std::error_code error;
  for (std::filesystem::directory_iterator entry(base, error), end; !error && entry != end; entry.increment(error)) {
    if (of_dead_test(entry->path().filename().string())) remove_folder(entry->path());
  }
}

}  // namespace

std::string test_prefix() {
  return kPrefix + std::to_string(::getpid()) + "-";
}

bool of_dead_test(const std::string& name) {
  if (name.rfind(kPrefix, 0) != 0) return false;
  const int pid = std::atoi(name.c_str() + std::string(kPrefix).size());
  return pid > 0 && ::kill(pid, 0) != 0 && errno == ESRCH;
}

Result<TempFolder> TempFolder::make(const std::filesystem::path& base) {
  sweep(base);
  std::string name = (base / (test_prefix() + "XXXXXX")).string();
  if (::mkdtemp(name.data()) == nullptr) return fail_os("mkdtemp " + name);
  TempFolder folder;
  folder.path_ = name;
  return folder;
}

TempFolder::TempFolder(TempFolder&& other) noexcept : path_(std::exchange(other.path_, {})) {}

TempFolder& TempFolder::operator=(TempFolder&& other) noexcept {
  if (this != &other) {
    remove();
    path_ = std::exchange(other.path_, {});
  }
  return *this;
}

TempFolder::~TempFolder() {
  remove();
}

void TempFolder::remove() noexcept {
  if (!path_.empty()) remove_folder(path_);
  path_.clear();
}

Status TempFolder::mount(const std::string& type, const std::string& options) {
  if (::mount(type.c_str(), path_.c_str(), type.c_str(), 0, options.c_str()) != 0) {
    return fail_os("mount " + type + " on " + path_.string());
  }
  return {};
}

}  // namespace godwit::testing
