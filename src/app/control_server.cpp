#include "app/control_server.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "app/control_client.h"
#include "base/cpu_account.h"

namespace godwit {

namespace {

using std::chrono::milliseconds;
using ClientClock = std::chrono::steady_clock;

constexpr mode_t kForThisUser = 0600;
constexpr int kControlBacklog = 16;
// An operator, and the programs that watch; more wait in the backlog.
constexpr std::size_t kMostClients = 16;
// After a shortage of descriptors or memory, which passes: not all the time for it.
constexpr int kControlRestMs = 100;

/// The file's mode lets nobody else in; who has been given the socket otherwise is told by the kernel.
bool may_control(int client) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(client, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == 0 || peer.uid == ::geteuid();
}

int until_the_first_is_late(const std::vector<ControlClient>& clients) {
  if (clients.empty()) return -1;
  const auto first = std::min_element(clients.begin(), clients.end(),
                                      [](const auto& a, const auto& b) { return a.deadline() < b.deadline(); });
  const auto left = std::chrono::ceil<milliseconds>(first->deadline() - ClientClock::now());
  return static_cast<int>(std::max<std::int64_t>(left.count(), 0));
}

}  // namespace

Result<std::unique_ptr<ControlServer>> ControlServer::listen(const std::string& path) {
  std::unique_ptr<ControlServer> server(new ControlServer);
  if (!server->wake_) return fail_os("eventfd");
  server->socket_ = TRY_IN(fmt::format("--control {}", path), server->file_.bind(path, kForThisUser));
  if (::listen(server->socket_.get(), kControlBacklog) != 0) return fail_os("--control " + path + ": listen");
  return server;
}

ControlServer::~ControlServer() {
  end();
}

void ControlServer::serve(Answer answer) {
  answer_ = std::move(answer);
  thread_ = job_thread([this] { run(); });
}

void ControlServer::end() noexcept {
  wake_.wake();
  if (thread_.joinable()) thread_.join();
}

void ControlServer::run() {
  std::vector<ControlClient> clients;
  bool rests = false;
  while (true) {
    const bool takes_more = clients.size() < kMostClients && !rests;
    std::vector<pollfd> look{{wake_.descriptor(), POLLIN, 0},
                             {socket_.get(), static_cast<short>(takes_more ? POLLIN : 0), 0}};
    for (const auto& client : clients) look.push_back({client.socket(), client.awaits(), 0});
    const int wait = until_the_first_is_late(clients);
    const bool short_rest = rests && (wait < 0 || wait > kControlRestMs);
    const int ready = ::poll(look.data(), look.size(), short_rest ? kControlRestMs : wait);
    rests = false;
    if (ready < 0) continue;
    if (look[0].revents != 0) return;
    const auto now = ClientClock::now();
    std::size_t at = 2;
    std::erase_if(clients, [&](ControlClient& client) {
      const bool found = look[at++].revents != 0;
      return found ? !client.go_on(answer_, now) : client.deadline() <= now;
    });
    if ((look[1].revents & POLLIN) == 0) continue;
    UniqueFd taken(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    rests = !taken && errno != EAGAIN && errno != EINTR;
    if (taken && may_control(taken.get())) clients.emplace_back(std::move(taken), now);
  }
}

}  // namespace godwit
