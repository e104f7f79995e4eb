#include "log/log_target.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "base/unique_fd.h"

namespace godwit {

namespace {

class LogFile final : public LogTarget {
 public:
  explicit LogFile(UniqueFd file) : file_(std::move(file)) {}
  std::string render(const LogRecord& record) const override { return log_line(record); }
  bool write(std::string_view line) noexcept override {
    while (!line.empty()) {
      const ssize_t written = ::write(file_.get(), line.data(), line.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return false;
      line.remove_prefix(static_cast<std::size_t>(written));
    }
    return true;
  }

 private:
  UniqueFd file_;
};

class JournalLog final : public LogTarget {
 public:
  explicit JournalLog(UniqueFd socket) : socket_(std::move(socket)) {}
  std::string render(const LogRecord& record) const override { return journal_datagram(record); }
  bool write(std::string_view datagram) noexcept override {
    ssize_t sent = 0;
    do {
      sent = ::send(socket_.get(), datagram.data(), datagram.size(), MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent == static_cast<ssize_t>(datagram.size());
  }

 private:
  UniqueFd socket_;
};

}  // namespace

Result<std::unique_ptr<LogTarget>> open_log_file(const std::string& path) {
  // Without waiting, now and later: a named pipe that nobody reads must not hold a migration up.
  UniqueFd file(::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0644));
  if (!file) return fail_os("open " + path);
  return std::make_unique<LogFile>(std::move(file));
}

Result<std::unique_ptr<LogTarget>> open_journal_log(const std::string& socket) {
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  if (socket.size() >= sizeof address.sun_path) return fail(ErrorKind::kInvalidArgument, socket + " is too long");
  std::memcpy(address.sun_path, socket.c_str(), socket.size());
  UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) return fail_os("socket");
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return fail_os("connect to " + socket);
  }
  return std::make_unique<JournalLog>(std::move(fd));
}

bool is_journal_stream(const char* journal_stream, int descriptor) noexcept {
  struct stat status {};
  if (journal_stream == nullptr || ::fstat(descriptor, &status) != 0) return false;
  return std::string_view(journal_stream) == fmt::format("{}:{}", status.st_dev, status.st_ino);
}

}  // namespace godwit
