#include "memory/paying_process.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>

#include "base/small_files.h"
#include "memory/page.h"

namespace godwit {

bool PayingProcess::ended() const noexcept {
  if (pidfd == nullptr) return false;
  pollfd at_its_end{.fd = pidfd->get(), .events = POLLIN, .revents = 0};
  return ::poll(&at_its_end, 1, 0) != 0;
}

std::size_t PayingProcess::fill(std::uint64_t offset, Bytes in) const noexcept {
  if (ended()) return 0;
  std::size_t done = 0;
  while (done < in.size()) {
    const iovec here{const_cast<std::byte*>(in.data() + done), in.size() - done};
    // An address in the other process, never used as a pointer here.
    const iovec there{reinterpret_cast<void*>(address + offset + done), in.size() - done};
    const ssize_t moved = ::process_vm_writev(pid, &here, 1, &there, 1, 0);
    if (moved < 0 && errno == EINTR) continue;
    if (moved <= 0) break;
    done += static_cast<std::size_t>(moved);
  }
  return done / kPageSize * kPageSize;
}

void PayingProcess::touch(std::uint64_t offset, std::size_t length) const noexcept {
  if (ended()) return;
  std::array<std::byte, kPagesPerChunk> bytes;
  std::array<iovec, kPagesPerChunk> there;
  for (std::size_t at = 0; at < length;) {
    std::size_t count = 0;
    for (; at < length && count < there.size(); at += kPageSize) {
      there[count++] = {reinterpret_cast<void*>(address + offset + at), 1};
    }
    const iovec here{bytes.data(), count};
    if (::process_vm_readv(pid, &here, 1, there.data(), count, 0) < 0) return;
  }
}

std::optional<std::string_view> memory_group(std::string_view text) {
  // "4:memory:/machine.slice", "0::/machine.slice"
  std::optional<std::string_view> second_version;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const auto first = line.find(':');
    const auto second = first == line.npos ? line.npos : line.find(':', first + 1);
    if (second == line.npos) continue;
    const std::string_view path = line.substr(second + 1);
    const std::string controllers = fmt::format(",{},", line.substr(first + 1, second - first - 1));
    if (controllers.find(",memory,") != std::string::npos) return path;
    if (line.starts_with("0::")) second_version = path;
  }
  return second_version;
}

bool charged_elsewhere(pid_t pid) {
  const std::string ours = read_small_file("/proc/self/cgroup").value_or("");
  const std::string theirs = read_small_file(fmt::format("/proc/{}/cgroup", pid)).value_or("");
  return memory_group(ours) != memory_group(theirs);
}

}  // namespace godwit
