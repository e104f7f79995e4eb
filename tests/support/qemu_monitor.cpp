#include "tests/support/qemu_monitor.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "tests/support/godwit_child.h"

namespace godwit::testing {
namespace {
/// Longer than any command here takes on a busy machine.
constexpr std::chrono::seconds kAnswerLimit{60};

Result<UniqueFd> connect_once(const std::filesystem::path& path) {
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return fail_os("socket");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.string().size() >= sizeof(address.sun_path)) return fail(ErrorKind::kInvalidArgument, "path too long");
  std::strncpy(address.sun_path, path.c_str(), sizeof(address.sun_path) - 1);
  if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    return fail_os("connect " + path.string());
  }
  return socket;
}
}  // namespace

Result<std::unique_ptr<QemuMonitor>> QemuMonitor::connect(const std::filesystem::path& path,
                                                          std::chrono::milliseconds limit) {
  Result<UniqueFd> socket = fail(ErrorKind::kTimedOut, "not tried");
  wait_until([&] { return (socket = connect_once(path)).has_value(); }, limit);
  if (!socket) return fail(std::move(socket).error());
  auto monitor = std::unique_ptr<QemuMonitor>(new QemuMonitor(std::move(*socket)));
  TRY_IN("greeting", monitor->read_message(kAnswerLimit));
  TRY(monitor->execute("qmp_capabilities"));
  return monitor;
}

Result<Json> QemuMonitor::read_message(std::chrono::milliseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  for (;;) {
    const auto newline = pending_.find('\n');
    if (newline != std::string::npos) {
      Json message = Json::parse(pending_.substr(0, newline), nullptr, false);
      pending_.erase(0, newline + 1);
      if (message.is_discarded()) return fail(ErrorKind::kProtocol, "QEMU's monitor sent no JSON");
      return message;
    }
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    pollfd wait{socket_.get(), POLLIN, 0};
    const int ready = ::poll(&wait, 1, static_cast<int>(std::max<std::int64_t>(0, left.count())));
    if (ready < 0 && errno == EINTR) continue;
    if (ready == 0) return fail(ErrorKind::kTimedOut, "QEMU's monitor is silent");
    char buffer[65536];
    const auto got = ::recv(socket_.get(), buffer, sizeof(buffer), 0);
    if (got <= 0) return fail(ErrorKind::kPeerLost, "QEMU closed its monitor");
    pending_.append(buffer, static_cast<std::size_t>(got));
  }
}

Result<Json> QemuMonitor::execute(const std::string& command, const Json& arguments) {
  Json request = {{"execute", command}};
  if (!arguments.empty()) request["arguments"] = arguments;
  const std::string text = request.dump() + "\n";
  if (::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(text.size())) {
    return fail(ErrorKind::kPeerLost, "QEMU closed its monitor");
  }
  for (;;) {
    Json answer = TRY_IN(command, read_message(kAnswerLimit));
    if (answer.contains("event")) {
      events_.push_back(std::move(answer));
      continue;
    }
    if (answer.contains("error")) {
      return fail(ErrorKind::kHypervisor, fmt::format("{}: {}", command, answer["error"].value("desc", "?")));
    }
    return answer.contains("return") ? answer["return"] : Json();
  }
}

Result<std::string> QemuMonitor::human(const std::string& line) {
  const Json answer = TRY(execute("human-monitor-command", {{"command-line", line}}));
  if (!answer.is_string()) return fail(ErrorKind::kProtocol, "no text");
  return answer.get<std::string>();
}

Result<Json> QemuMonitor::wait_for_event(const std::string& name, std::chrono::milliseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  for (;;) {
    for (auto event = events_.begin(); event != events_.end(); ++event) {
      if ((*event)["event"] != name) continue;
      Json found = std::move(*event);
      events_.erase(events_.begin(), event + 1);
      return found;
    }
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
    if (left.count() <= 0) return fail(ErrorKind::kTimedOut, "no event " + name);
    events_.push_back(TRY_IN("event " + name, read_message(left)));
  }
}

Result<bool> QemuMonitor::has_seen(const std::string& name) {
  for (;;) {
    auto message = read_message(std::chrono::milliseconds(0));
    if (!message && message.error().kind == ErrorKind::kTimedOut) break;
    if (!message) return fail(std::move(message).error());
    events_.push_back(std::move(*message));
  }
  for (const auto& event : events_) {
    if (event.contains("event") && event["event"] == name) return true;
  }
  return false;
}

}  // namespace godwit::testing
