// QMP over a Unix socket: one reader thread, commands from any thread.
//
//   caller --> {"execute", "id": 7} --> QEMU        reader <-- {"return", "id": 7}   to the caller that waits
//                                                   reader <-- {"event"}             to the handler, with its instant
//
// QEMU answers one command after the other, so one is under way at a time. An answer that comes after its caller gave
// up is known by its id and dropped. The reader outlives QEMU: it then fails the caller, calls on_lost once, and ends.
#include "vmm/qemu/qmp.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "base/wake.h"

namespace godwit::qemu {
namespace {

constexpr std::size_t kReadSize = std::size_t{64} * 1024;  // a large answer (all features of a CPU) fits in one read

// An event travels in milliseconds; one that seems older than this tells of a wall clock that was set.
constexpr Duration kOldestEvent = std::chrono::seconds(10);
// The end of the year 9999: its microseconds fit into 64 bits, as those of an arbitrary number need not.
constexpr std::uint64_t kLatestSecond = 253'402'300'799;

bool is_text(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string();
}

class Connection final : public Qmp {
 public:
  Connection(UniqueFd socket, Wake stop, pid_t peer, const Clock& clock, const QmpLimits& limits)
      : socket_(std::move(socket)), stop_(std::move(stop)), peer_(peer), clock_(clock), limits_(limits) {
    reader_ = std::thread([this] { read_all(); });
  }

  ~Connection() override {
    stop_.wake();
    reader_.join();
  }

  Status await_greeting() {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, limits_.greeting, [&] { return greeted_ || lost_; })) {
      return fail(
          ErrorKind::kRefused,
          "the monitor does not greet: another client holds it (a QEMU monitor socket serves one at a time), or "
          "it is not a QMP monitor");
    }
    if (!greeted_) return fail(*lost_);
    return {};
  }

  Result<Json> execute(std::string_view command, const Json& arguments) override {
    return execute_with(command, arguments, -1);
  }

  Result<Json> execute_with_descriptor(std::string_view command, const Json& arguments, int fd) override {
    return execute_with(command, arguments, fd);
  }

  void on_event(OnEvent handler) override {
    const std::lock_guard lock(handler_mutex_);
    on_event_ = std::move(handler);
  }

  void on_lost(std::function<void()> handler) override {
    const std::lock_guard lock(handler_mutex_);
    if (told_lost_ && handler) {
      handler();  // it was lost before anybody listened
      return;
    }
    on_lost_ = std::move(handler);
  }

  pid_t peer_pid() const noexcept override { return peer_; }

 private:
  Result<Json> execute_with(std::string_view command, const Json& arguments, int fd);
  Result<Json> await_answer(std::string_view command, std::uint64_t id);
  Status send_line(std::string_view line, int fd);

  void read_all();
  Status read_some(std::string& line);
  Status take_line(std::string_view line);
  void take_event(const Json& message);
  void lose(Error error);

  UniqueFd socket_;
  Wake stop_;
  pid_t peer_;
  const Clock& clock_;
  QmpLimits limits_;

  std::mutex command_mutex_;  // one command at a time; taken before mutex_
  std::mutex mutex_;          // guards what follows
  std::condition_variable changed_;
  std::uint64_t last_id_ = 0;
  std::optional<Json> answer_;  // to last_id_
  bool greeted_ = false;
  std::optional<Error> lost_;

  std::mutex handler_mutex_;  // held while a handler runs
  OnEvent on_event_;
  std::function<void()> on_lost_;
  bool told_lost_ = false;

  std::thread reader_;
};

Result<Json> Connection::execute_with(std::string_view command, const Json& arguments, int fd) {
  const std::lock_guard one_at_a_time(command_mutex_);
  std::uint64_t id = 0;
  {
    const std::lock_guard lock(mutex_);
    if (lost_) return fail(Error(*lost_).in(command));
    id = ++last_id_;
    answer_.reset();
  }
  Json message{{"execute", command}, {"id", id}};
  if (arguments.is_object() && !arguments.empty()) message["arguments"] = arguments;
  // Replaces what is not UTF-8 (a file name, say) rather than throw.
  TRY_IN(command, send_line(message.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n", fd));
  return await_answer(command, id);
}

Result<Json> Connection::await_answer(std::string_view command, std::uint64_t id) {
  std::unique_lock lock(mutex_);
  if (!changed_.wait_for(lock, limits_.command, [&] { return answer_ || lost_; })) {
    last_id_ = id + 1;  // what still comes for this one is not taken for the next one's
    return fail(ErrorKind::kTimedOut, fmt::format("{}: QEMU did not answer", command));
  }
  if (!answer_) return fail(Error(*lost_).in(command));
  Json answer = std::move(*answer_);
  answer_.reset();
  lock.unlock();
  if (const auto value = answer.find("return"); value != answer.end()) return std::move(*value);
  const auto error = answer.find("error");
  if (error == answer.end() || !error->is_object() || !is_text(*error, "desc")) {
    return fail(ErrorKind::kProtocol, fmt::format("{}: QEMU's answer is neither a value nor an error", command));
  }
  const std::string kind = is_text(*error, "class") ? error->at("class").get<std::string>() : "";
  // An older QEMU that lacks a command is not a failure of the VM: callers go another way.
  return fail(kind == "CommandNotFound" ? ErrorKind::kUnsupported : ErrorKind::kHypervisor,
              fmt::format("{}: {}", command, error->at("desc").get<std::string>()));
}

Status Connection::send_line(std::string_view line, int fd) {
  const auto deadline = std::chrono::steady_clock::now() + limits_.command;
  while (!line.empty()) {
    iovec piece{const_cast<char*>(line.data()), line.size()};
    msghdr message{};
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    if (fd >= 0) {
      message.msg_control = control.data();
      message.msg_controllen = control.size();
      cmsghdr* header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(sizeof(int));
      std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
    }
    const ssize_t sent = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      line.remove_prefix(static_cast<std::size_t>(sent));
      fd = -1;  // it went with the first byte
    } else if (errno == EAGAIN) {
      if (std::chrono::steady_clock::now() > deadline) return fail(ErrorKind::kTimedOut, "QEMU takes no more commands");
      pollfd wait{socket_.get(), POLLOUT, 0};
      ::poll(&wait, 1, 100);
    } else if (errno == EPIPE || errno == ECONNRESET) {
      return fail(ErrorKind::kPeerLost, "QEMU closed its monitor");
    } else if (errno != EINTR) {
      return fail_os("send to QEMU's monitor");
    }
  }
  return {};
}

void Connection::read_all() {
  std::string line;
  for (;;) {
    std::array<pollfd, 2> wait{pollfd{socket_.get(), POLLIN, 0}, pollfd{stop_.descriptor(), POLLIN, 0}};
    if (::poll(wait.data(), wait.size(), -1) < 0) continue;  // EINTR
    if (wait[1].revents != 0) return;
    if (auto read = read_some(line); !read) return lose(std::move(read).error());
  }
}

/// Reads what is there and takes each full line. `line` keeps an unfinished one.
Status Connection::read_some(std::string& line) {
  std::array<char, kReadSize> buffer;  // NOLINT: filled by recv
  const ssize_t length = ::recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (length < 0 && (errno == EAGAIN || errno == EINTR)) return {};
  if (length == 0 || (length < 0 && errno == ECONNRESET)) return fail(ErrorKind::kPeerLost, "QEMU closed its monitor");
  if (length < 0) return fail_os("read from QEMU's monitor");
  std::string_view rest(buffer.data(), static_cast<std::size_t>(length));
  for (auto end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
    line += rest.substr(0, end);
    rest.remove_prefix(end + 1);
    TRY(take_line(line));
    line.clear();
  }
  line += rest;
  if (line.size() > limits_.line) {
    return fail(ErrorKind::kProtocol, fmt::format("QEMU's monitor sent a line of more than {} bytes", limits_.line));
  }
  return {};
}

Status Connection::take_line(std::string_view line) {
  if (line.find_first_not_of(" \t\r") == std::string_view::npos) return {};
  Json message = Json::parse(line, nullptr, false);
  if (!message.is_object()) {
    return fail(ErrorKind::kProtocol,
                fmt::format("not a QMP monitor: it says '{}'", line.substr(0, std::min<std::size_t>(line.size(), 80))));
  }
  if (message.contains("event")) {
    take_event(message);
    return {};
  }
  const std::lock_guard lock(mutex_);
  if (message.contains("QMP")) {
    greeted_ = true;
  } else if (const auto id = message.find("id"); id != message.end() && *id == last_id_) {
    answer_ = std::move(message);
  }
  changed_.notify_all();
  return {};
}

/// How long ago QEMU emitted the event, by its own timestamp of the same host's wall clock; 0 where that tells nothing.
Duration age_of(const Json& event) {
  const auto stamp = event.find("timestamp");
  if (stamp == event.end() || !stamp->is_object()) return {};
  const auto seconds = stamp->find("seconds");
  const auto microseconds = stamp->find("microseconds");
  if (seconds == stamp->end() || !seconds->is_number_unsigned()) return {};
  if (microseconds == stamp->end() || !microseconds->is_number_unsigned()) return {};
  const auto whole = seconds->get<std::uint64_t>();
  if (whole > kLatestSecond) return {};
  const auto emitted = whole * 1'000'000 + microseconds->get<std::uint64_t>() % 1'000'000;
  const auto now =
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch());
  const auto age = now - std::chrono::microseconds(emitted);
  // In microseconds: what is not bounded yet may not fit into a Duration.
  constexpr auto kOldest = std::chrono::duration_cast<std::chrono::microseconds>(kOldestEvent);
  return age > age.zero() && age < kOldest ? Duration(age) : Duration{};
}

void Connection::take_event(const Json& message) {
  if (!is_text(message, "event")) return;
  const Instant arrival = clock_.now();  // read first: what passes between the two clocks makes it earlier, never later
  const Instant at = arrival - age_of(message);
  static const Json kNothing = Json::object();
  const auto data = message.find("data");
  const std::lock_guard lock(handler_mutex_);
  if (on_event_) on_event_(message.at("event").get<std::string>(), data == message.end() ? kNothing : *data, at);
}

void Connection::lose(Error error) {
  {
    const std::lock_guard lock(mutex_);
    lost_ = std::move(error);
    changed_.notify_all();
  }
  const std::lock_guard lock(handler_mutex_);
  told_lost_ = true;
  if (const auto handler = std::exchange(on_lost_, {})) handler();
}

Result<UniqueFd> connect_socket(const std::string& path, Duration timeout) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return fail(ErrorKind::kInvalidArgument, fmt::format("'{}' is not a path of a Unix socket", path));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket) return fail_os("socket");
    if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) return socket;
    if (errno == ECONNREFUSED) return fail(ErrorKind::kNotFound, "no process listens there (QEMU has ended?)");
    if (errno != EAGAIN && errno != EINTR) return fail_os("connect");
    // The queue of a monitor that serves somebody else is one long.
    if (std::chrono::steady_clock::now() > deadline) {
      return fail(ErrorKind::kRefused,
                  "another client holds this monitor (a QEMU monitor socket serves one at a time): close it, or give "
                  "QEMU a second -qmp socket and name that");
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

Result<pid_t> peer_of(const UniqueFd& socket) {
  ucred peer{};
  socklen_t length = sizeof peer;
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return fail_os("SO_PEERCRED");
  return peer.pid;
}

}  // namespace

Result<Json> Qmp::execute(std::string_view command) {
  return execute(command, Json::object());
}

Result<std::string> Qmp::human(std::string_view command_line) {
  const Json text = TRY(execute("human-monitor-command", Json{{"command-line", command_line}}));
  if (!text.is_string())
    return fail(ErrorKind::kProtocol, fmt::format("'{}': QEMU's answer is not a string", command_line));
  return text.get<std::string>();
}

Status Qmp::give_descriptor(std::string_view name, int fd) {
  TRY(execute_with_descriptor("getfd", Json{{"fdname", name}}, fd));
  return {};
}

Result<pid_t> listener_of(const std::string& path) {
  const UniqueFd socket = TRY_IN(fmt::format("QEMU's monitor '{}'", path), connect_socket(path, QmpLimits().greeting));
  return peer_of(socket);
}

Result<std::unique_ptr<Qmp>> connect_qmp(const std::string& path, const Clock& clock, const QmpLimits& limits) {
  const std::string context = fmt::format("QEMU's monitor '{}'", path);
  UniqueFd socket = TRY_IN(context, connect_socket(path, limits.greeting));
  const pid_t peer = TRY(peer_of(socket));
  Wake stop;
  if (!stop) return fail_os("eventfd");
  auto connection = std::make_unique<Connection>(std::move(socket), std::move(stop), peer, clock, limits);
  TRY_IN(context, connection->await_greeting());
  TRY_IN(context, connection->Qmp::execute("qmp_capabilities"));
  return connection;
}

}  // namespace godwit::qemu
