#include "vmm/qemu/log_end.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

namespace godwit::qemu {
namespace {

// QEMU says why in its last two or three lines.
constexpr std::uint64_t kMost = 600;

}  // namespace

LogEnd LogEnd::of(pid_t pid) {
  LogEnd end;
  // O_NONBLOCK: nobody waits for a pipe's other end.
  UniqueFd file(::open(fmt::format("/proc/{}/fd/2", pid).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat found {};
  if (!file || ::fstat(file.get(), &found) != 0 || !S_ISREG(found.st_mode)) return end;
  end.file_ = std::move(file);
  end.begin_ = static_cast<std::uint64_t>(found.st_size);
  return end;
}

std::string LogEnd::lines() const {
  struct stat now {};
  if (!file_ || ::fstat(file_.get(), &now) != 0) return {};
  const auto end = static_cast<std::uint64_t>(now.st_size);
  if (end <= begin_) return {};
  const std::uint64_t from = end - begin_ > kMost ? end - kMost : begin_;
  std::string text(end - from, '\0');
  const ssize_t length = ::pread(file_.get(), text.data(), text.size(), static_cast<off_t>(from));
  text.resize(length > 0 ? static_cast<std::size_t>(length) : 0);
  // A line whose beginning lies before is half a line.
  if (from > begin_) text.erase(0, std::min(text.find('\n'), text.size()));
  std::string out;
  for (const char c : text) {
    const bool gap = c == '\n' || c == '\r';
    if (gap && (out.empty() || out.ends_with("; "))) continue;
    out += gap ? "; " : std::string(1, c >= ' ' && c <= '~' ? c : '?');
  }
  while (out.ends_with("; ")) out.resize(out.size() - 2);
  return out;
}

}  // namespace godwit::qemu
