#include "throttle/throttle_keeper.h"

#include <fmt/format.h>
#include <linux/limits.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ctime>
#include <vector>

#include "base/capabilities.h"
#include "base/denied_calls.h"
#include "base/standby.h"
#include "throttle/undo_record.h"

namespace godwit {
namespace {

// As ps shows it; 15 bytes at most.
constexpr const char* kKeeperWaits = "godwit-keeper";
constexpr const char* kKeeperUndoes = "godwit-unslow";
// What the kernel does not undo at once, it may in some seconds; then it is the next godwit command's.
constexpr int kMostTries = 50;
constexpr timespec kBetweenTries{0, 200'000'000};

/// What the process does; never returns. It was forked from one thread, so it may allocate.
[[noreturn]] void keep(int socket) noexcept {
  be_on_standby(socket, kKeeperWaits);
  // The files that it writes are root's, as it is.
  (void)limit_this_thread(CapabilitySet());
  (void)deny_calls();
  std::vector<std::string> files;
  std::array<char, PATH_MAX> name;
  while (true) {
    const ssize_t got = ::recv(kStandbySocket, name.data(), name.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    std::string file(name.data(), static_cast<std::size_t>(got));
    if (std::find(files.begin(), files.end(), file) == files.end()) files.push_back(std::move(file));
  }
  // The engine has gone, with all its threads: nothing is changed any more by it.
  if (!files.empty()) ::prctl(PR_SET_NAME, kKeeperUndoes);
  for (int tries = 0; tries < kMostTries; ++tries) {
    std::erase_if(files, [](const std::string& file) { return undo_file(file).has_value(); });
    if (files.empty()) break;
    ::nanosleep(&kBetweenTries, nullptr);
  }
  ::_exit(0);
}

}  // namespace

Result<std::unique_ptr<ThrottleKeeper>> ThrottleKeeper::start() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) return fail_os("socketpair");
  UniqueFd ours(ends[0]);
  const UniqueFd theirs(ends[1]);
  const pid_t pid = ::fork();
  if (pid < 0) return fail_os("fork");
  if (pid == 0) keep(theirs.get());
  return std::unique_ptr<ThrottleKeeper>(new ThrottleKeeper(pid, std::move(ours)));
}

ThrottleKeeper::~ThrottleKeeper() {
  socket_.reset();
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
}

Status ThrottleKeeper::watch(const std::string& undo_file) {
  if (undo_file.empty() || undo_file.size() >= PATH_MAX) {
    return fail(ErrorKind::kInvalidArgument, "the name of the file that says what to undo is too long");
  }
  if (::send(socket_.get(), undo_file.data(), undo_file.size(), MSG_NOSIGNAL) < 0) {
    return fail_os("tell the keeper of the throttle");
  }
  return {};
}

}  // namespace godwit
