#include "tests/support/godwit_leaks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "tests/support/godwit_child.h"

namespace godwit::testing {
namespace {

/// "socket:[123]" and "anon_inode:[userfaultfd]" without what differs from one to the next. A file that was removed
/// meanwhile, such as one inherited from whoever runs the tests, is the same file still.
std::string kind_of(std::string target) {
  constexpr std::string_view kRemoved = " (deleted)";
  if (target.ends_with(kRemoved)) target.resize(target.size() - kRemoved.size());
  for (const char* kind : {"socket:", "pipe:", "anon_inode:"}) {
    if (target.rfind(kind, 0) != 0) continue;
    return target.rfind("anon_inode:", 0) == 0 ? target : std::string(kind);
  }
  return target;
}

bool of_other_process(const std::string& name, const std::vector<pid_t>& ours) {
  for (std::size_t at = 0; at < name.size();) {
    std::size_t length = 0;
    while (at + length < name.size() && std::isdigit(static_cast<unsigned char>(name[at + length])) != 0) ++length;
    // More digits are not a pid.
    if (length > 0 && length < 8) {
      const pid_t pid = std::stoi(name.substr(at, length));
      const bool mine = std::find(ours.begin(), ours.end(), pid) != ours.end();
      if (!mine && std::filesystem::exists(fmt::format("/proc/{}", pid))) return true;
    }
    at += length + 1;
  }
  return false;
}

}  // namespace

Result<Footprint> Footprint::of(pid_t pid) {
  Footprint footprint;
  std::error_code error;
  const std::filesystem::path folder = fmt::format("/proc/{}/fd", pid);
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    std::error_code gone;
    const auto target = std::filesystem::read_symlink(entry->path(), gone);
    if (!gone) ++footprint.descriptors_[kind_of(target.string())];
  }
  if (error) return fail(ErrorKind::kNotFound, "read " + folder.string() + ": " + error.message());
  return footprint;
}

std::vector<std::string> Footprint::grown_in(const Footprint& later) const {
  std::vector<std::string> grown;
  for (const auto& [kind, count] : later.descriptors_) {
    const auto before = descriptors_.find(kind);
    const int more = count - (before == descriptors_.end() ? 0 : before->second);
    if (more > 0) grown.push_back(fmt::format("{} x {}", more, kind));
  }
  return grown;
}

void Footprint::add_growth(const Footprint& before, const Footprint& after) {
  for (const auto& [kind, count] : after.descriptors_) {
    const auto known = before.descriptors_.find(kind);
    const int more = count - (known == before.descriptors_.end() ? 0 : known->second);
    if (more > 0) descriptors_[kind] += more;
  }
}

std::set<std::string> shared_memory_files() {
  std::set<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator entry("/dev/shm", error), end; !error && entry != end;
       entry.increment(error)) {
    const auto name = entry->path().filename().string();
    if (name.rfind("godwit-test-", 0) != 0) names.insert(name);
  }
  return names;
}

std::vector<std::string> new_shared_memory_files(const std::set<std::string>& before, const std::vector<pid_t>& ours) {
  std::vector<std::string> found;
  for (const auto& name : shared_memory_files()) {
    if (before.count(name) == 0 && !of_other_process(name, ours)) found.push_back(name);
  }
  return found;
}

std::vector<pid_t> processes_marked(const std::string& name, const std::string& value) {
  std::vector<pid_t> found;
  const std::string wanted = name + "=" + value;
  std::error_code error;
  for (std::filesystem::directory_iterator entry("/proc", error), end; !error && entry != end; entry.increment(error)) {
    const auto pid = entry->path().filename().string();
    if (!std::all_of(pid.begin(), pid.end(), [](unsigned char c) { return std::isdigit(c) != 0; })) continue;
    const std::string environment = std::string(1, '\0') + read_text(entry->path() / "environ") + '\0';
    if (environment.find('\0' + wanted + '\0') != std::string::npos) found.push_back(std::stoi(pid));
  }
  return found;
}

}  // namespace godwit::testing
