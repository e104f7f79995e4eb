// See server.h.
#include "server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <sstream>
#include <string>
#include <thread>

#include "system.h"

namespace godwit::guest {
namespace {

constexpr int kMostConnections = 16;       // a test opens two or three
constexpr std::size_t kLongestLine = 256;  // longer ones are nonsense; the connection ends

std::string answer(const CheckerState& state, std::uint64_t sequence, const std::string& boot) {
  std::ostringstream out;
  out << "ok seq=" << sequence << " errors=" << state.errors << " passes=" << state.passes << " writes=" << state.writes
      << " load=" << name_of(state.load) << " rate=" << state.rate
      << " uptime_ms=" << static_cast<std::uint64_t>(uptime() * 1000) << " free_kb=" << free_memory_kb()
      << " boot=" << boot << "\n";
  return out.str();
}

std::string obey(const std::string& line, std::uint64_t sequence, const std::string& boot, Checker& checker) {
  std::istringstream in(line);
  std::string command;
  in >> command;
  if (command == "verify") {
    return answer(checker.verify_all(), sequence, boot);
  }
  if (command == "free") {
    checker.free_again();
  } else if (command == "load") {
    std::string name;
    std::uint64_t rate = 0;
    Load load{};
    if (!(in >> name >> rate) || !parse_load(name, load)) {
      return "error: load idle|inplace|pages|random|redis RATE\n";
    }
    if (!checker.set_load(load, rate)) {
      return "error: this guest has no " + name + "\n";
    }
  } else if (command == "renew") {
    std::string name;
    Load load{};
    if (!(in >> name) || !parse_load(name, load)) {
      return "error: renew idle|inplace|pages|random|redis\n";
    }
    checker.renew(load);
  } else if (command == "hints") {
    std::string wanted;
    in >> wanted;
    if (!(wanted == "on" ? start_free_page_hints() : wanted == "off" && unbind_balloon())) {
      return "error: no hints " + wanted + " here\n";
    }
  } else if (command != "ping") {
    return "error: unknown command\n";
  }
  return answer(checker.state(), sequence, boot);
}

bool send_all(int socket, const std::string& text) {
  std::size_t sent = 0;
  while (sent < text.size()) {
    const ssize_t n = ::send(socket, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
    if (n <= 0) {
      return false;
    }
    sent += static_cast<std::size_t>(n);
  }
  return true;
}

void converse(int socket, const std::string& boot, Checker& checker) {
  std::uint64_t sequence = 0;
  std::string pending;
  char buffer[512];
  for (;;) {
    const ssize_t got = ::recv(socket, buffer, sizeof(buffer), 0);
    if (got <= 0) {
      return;
    }
    pending.append(buffer, static_cast<std::size_t>(got));
    for (auto end = pending.find('\n'); end != std::string::npos; end = pending.find('\n')) {
      if (!send_all(socket, obey(pending.substr(0, end), ++sequence, boot, checker))) {
        return;
      }
      pending.erase(0, end + 1);
    }
    if (pending.size() > kLongestLine) {
      return;
    }
  }
}

}  // namespace

void serve(std::uint16_t port, Checker& checker) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  if (::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 || ::listen(listener, 8) != 0) {
    std::perror("GODWIT-GUEST listen");
    return;
  }
  const std::string boot = boot_id();
  std::atomic<int> connections{0};
  std::printf("GODWIT-GUEST READY\n");
  std::fflush(stdout);
  for (;;) {
    const int socket = ::accept(listener, nullptr, nullptr);
    if (socket < 0) {
      continue;
    }
    if (++connections > kMostConnections) {
      --connections;
      ::close(socket);
      continue;
    }
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    std::thread([socket, &boot, &checker, &connections] {
      converse(socket, boot, checker);
      ::close(socket);
      --connections;
    }).detach();
  }
}

}  // namespace godwit::guest
