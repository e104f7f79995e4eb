#include "tests/net/channel_kinds.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <thread>

#include "base/unique_fd.h"
#include "net/rate_limit.h"
#include "tests/support/scrambled_channel.h"
#include "tls/tls_channel.h"

namespace godwit::testing {

TemporaryFolder::TemporaryFolder() {
  std::string pattern = (std::filesystem::temp_directory_path() / "godwit-net-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) std::abort();
  folder_ = pattern;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

Result<ChannelPair> connect_through(const Address& address, const Liveness& liveness) {
  const auto listener = TRY(listen_on(address, liveness));
  auto near = TRY(connect_to(listener->address(), liveness));
  auto far = TRY(listener->accept(std::chrono::seconds(10)));
  return ChannelPair(std::move(near), std::move(far));
}

bool has_ipv6_loopback() {
  const UniqueFd socket(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_addr = in6addr_loopback;
  return socket && ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

namespace {

ChannelKind limited(ChannelKind kind) {
  const auto make = [inner = kind.make](const Liveness& liveness) -> Result<ChannelPair> {
    static const SteadyClock clock;
    // Fast enough to cost no test time, slow enough that sends have to wait now and then.
    const auto limit = std::make_shared<RateLimit>(BitRate{8'000'000'000}, clock, std::chrono::milliseconds(1));
    auto pair = TRY(inner(liveness));
    return ChannelPair(limit_rate(std::move(pair.first), limit), limit_rate(std::move(pair.second), limit));
  };
  return {.name = kind.name + "Limited", .make = make, .needs_ipv6 = kind.needs_ipv6, .is_tcp = kind.is_tcp};
}

/// As the two ends of a migration wrap a connection: one waits for the handshake, the other takes it as it comes.
ChannelKind scrambled(ChannelKind kind) {
  const auto make = [inner = kind.make](const Liveness& liveness) -> Result<ChannelPair> {
    auto pair = TRY(inner(liveness));
    auto far = TRY(ScrambledChannel::accepted(std::move(pair.second)));
    auto connecting =
        std::async(std::launch::async, [&] { return ScrambledChannel::connected(std::move(pair.first)); });
    while (connecting.wait_for(std::chrono::milliseconds(1)) != std::future_status::ready) {
      std::array<std::byte, 1> none;
      TRY(far->read(MutableBytes(none).first(0), 0, Deadline::never()));
    }
    return ChannelPair(TRY(connecting.get()), std::move(far));
  };
  return {.name = kind.name + "Scrambled", .make = make, .needs_ipv6 = kind.needs_ipv6, .is_tcp = kind.is_tcp};
}

/// As the two ends of a migration encrypt a connection.
ChannelKind encrypted(ChannelKind kind) {
  const auto make = [inner = kind.make](const Liveness& liveness) -> Result<ChannelPair> {
    const auto key = [] { return SharedKey{.identity = "tests", .key = KeyBytes(32, 7)}; };
    const auto wrap_far = tls_accepted(TRY(TlsContext::make(TlsSide::kServer, key(), "")));
    const auto wrap_near = tls_connected(TRY(TlsContext::make(TlsSide::kClient, key(), "")));
    auto pair = TRY(inner(liveness));
    auto far = TRY(wrap_far(std::move(pair.second)));
    auto connecting = std::async(std::launch::async, [&] { return wrap_near(std::move(pair.first)); });
    std::array<std::byte, 1> none;
    while (connecting.wait_for(std::chrono::milliseconds(1)) != std::future_status::ready) {
      TRY(far->read(MutableBytes(none).first(0), 0, Deadline::never()));
    }
    auto near = TRY(connecting.get());
    // The last word of the handshake is the connector's.
    while (far->link().security().empty()) TRY(far->read(MutableBytes(none).first(0), 0, Deadline::never()));
    return ChannelPair(std::move(near), std::move(far));
  };
  return {.name = kind.name + "Tls",
          .make = make,
          .needs_ipv6 = kind.needs_ipv6,
          .is_tcp = kind.is_tcp,
          .adds_bytes = true};
}

Result<ChannelPair> through_unix(const Liveness& liveness) {
  const TemporaryFolder folder;
  return connect_through({.kind = Address::Kind::kUnix, .host = {}, .port = 0, .path = folder.path("socket")},
                         liveness);
}

}  // namespace

std::vector<ChannelKind> channel_kinds() {
  const auto tcp = [](const char* host) {
    return [host](const Liveness& liveness) {
      return connect_through({.kind = Address::Kind::kTcp, .host = host, .port = 0, .path = {}}, liveness);
    };
  };
  std::vector<ChannelKind> kinds = {
      {.name = "Tcp4", .make = tcp("127.0.0.1"), .is_tcp = true},
      {.name = "Tcp6", .make = tcp("::1"), .needs_ipv6 = true, .is_tcp = true},
      {.name = "Unix", .make = through_unix},
      {.name = "Pair", .make = make_channel_pair},
  };
  for (std::size_t i = 0, plain = kinds.size(); i < plain; ++i) {
    kinds.push_back(limited(kinds[i]));
    kinds.push_back(scrambled(kinds[i]));
    kinds.push_back(encrypted(kinds[i]));
  }
  return kinds;
}

}  // namespace godwit::testing
