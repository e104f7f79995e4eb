// A thousand connections at a `godwit receive` while a real VM is moved to it: they neither block nor delay the move,
// and the receiver grows by no more than what the greeter allows strangers.
//
//   the flood:  1000 sockets, one thread --+
//                                          +--> receive --> QEMU
//   send: the VM that is moved ------------+
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <iostream>
#include <thread>
#include <vector>

#include "tests/integration/scene.h"
#include "tests/support/temp_key.h"
#include "tls/tls_session.h"
#include "wire/control.h"

namespace godwit::testing {
namespace {

constexpr std::size_t kFlood = 1000;
// Theirs, the test's own, and as many again while one closes and another opens.
constexpr rlim_t kDescriptors = 4096;
// The greeter keeps 256 strangers. Each has, before it has proved who it is, a TLS session of OpenSSL's (some 20 KiB),
// 8 KiB of input and 16 KiB to gather output: 12 MiB in all. The rest is what malloc keeps of those that have gone. A
// receiver that kept what it had for each of the thousands that come during a move would have more than this.
constexpr std::uint64_t kMostGrowth = 32 * kMiB;
// Two CPUs are shared by the guest's TCG, both engines, and the flood, which takes what it gets of one.
constexpr double kMostTimes = 6;

std::vector<std::byte> client_hello() {
  const auto context = TlsContext::make(TlsSide::kClient, SharedKey{.identity = "tests", .key = KeyBytes(32, 9)}, "");
  if (!context) return {};
  const auto session = TlsSession::make(*context, "the receiver");
  if (!session || !(*session)->handshake()) return {};
  return (*session)->output();
}

std::vector<std::byte> plain_greeting() {
  auto pair = make_channel_pair().value();
  EXPECT_TRUE(wire::send_greeting(*pair.first, {.role = wire::Role::kControl}));
  std::vector<std::byte> bytes(48);
  EXPECT_TRUE(receive_bytes(*pair.second, bytes));
  return bytes;
}

/// So many descriptors, for this process and its children; false where that is not allowed.
bool allow_descriptors() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return false;
  if (limit.rlim_cur >= kDescriptors) return true;
  limit.rlim_cur = kDescriptors;
  limit.rlim_max = std::max(limit.rlim_max, kDescriptors);
  return ::setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

/// Opens as many connections as it may have, and another one for each that is closed, until it goes.
class Flood {
 public:
  explicit Flood(std::uint16_t port) : port_(port) {
    for (std::size_t i = 0; i < kFlood; ++i) here_[i].kind = static_cast<Kind>(i % kKinds);
    thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
  }

  /// All have been let in, or have tried at least.
  bool is_there() const noexcept { return opened_ >= kFlood; }
  std::uint64_t opened() const noexcept { return opened_; }
  std::uint64_t closed() const noexcept { return closed_; }

 private:
  enum class Kind { kSilent, kDrips, kHellos, kRubbish, kPlain };
  static constexpr std::size_t kKinds = 5;
  struct One {
    Kind kind = Kind::kSilent;
    UniqueFd socket;
    std::size_t said = 0;  ///< bytes
  };

  void run(const std::stop_token& stop) {
    for (unsigned round = 0; !stop.stop_requested(); ++round) {
      for (std::size_t i = 0; i < kFlood && !stop.stop_requested(); ++i) {
        One& one = here_[i];
        if (!one.socket) {
          open(one, i);
        } else if (is_closed(one)) {
          ++closed_;
          open(one, i);
        }
        talk(one, round);
      }
      nap(kRound);
    }
  }
  /// From many hosts, or there would not be enough ports for all who come again.
  void open(One& one, std::size_t number) {
    one.socket = UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    one.said = 0;
    if (!one.socket) return;
    const linger at_once{.l_onoff = 1, .l_linger = 0};
    const int later = 1;
    (void)::setsockopt(one.socket.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    (void)::setsockopt(one.socket.get(), IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &later, sizeof later);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + static_cast<std::uint32_t>(number % 200));
    (void)::bind(one.socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port_);
    (void)::connect(one.socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
    ++opened_;
  }
  static bool is_closed(const One& one) {
    std::array<char, 4096> heard;
    const ssize_t got = ::recv(one.socket.get(), heard.data(), heard.size(), MSG_DONTWAIT);
    return got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR && errno != ENOTCONN);
  }
  /// What does not fit into the socket is not waited for.
  void say(One& one, Bytes bytes) {
    const ssize_t sent = ::send(one.socket.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) one.said += static_cast<std::size_t>(sent);
  }
  void talk(One& one, unsigned round) {
    if (!one.socket) return;
    switch (one.kind) {
      case Kind::kSilent:
        return;
      case Kind::kDrips:
        if (round % kRoundsASecond == 0 && one.said < hello_.size()) say(one, Bytes(hello_).subspan(one.said, 1));
        return;
      case Kind::kHellos:
        // The first is a genuine one; there is never an answer to what the receiver says to it.
        return say(one, hello_);
      case Kind::kRubbish:
        return say(one, rubbish_);
      case Kind::kPlain:
        if (one.said == 0) say(one, greeting_);
        return;
    }
  }

  static constexpr milliseconds kRound{20};
  static constexpr unsigned kRoundsASecond = 50;
  const std::uint16_t port_;
  const std::vector<std::byte> hello_ = client_hello();
  const std::vector<std::byte> greeting_ = plain_greeting();
  // As a record of TLS begins, and nothing that one may go on with.
  const std::vector<std::byte> rubbish_ = std::vector<std::byte>(4096, std::byte{22});
  std::array<One, kFlood> here_;
  std::atomic<std::uint64_t> opened_{0}, closed_{0};
  std::jthread thread_;
};

struct Moved {
  double took = 0;  ///< seconds, from the start of `send` to its end
  std::uint64_t sink_memory = 0;
  std::uint64_t opened = 0, closed = 0;  ///< the flood's connections
};

Result<Moved> move(bool flooded) {
  const auto scene = TRY(Scene::make(quiet_vm()));
  GodwitOptions options;
  options.arguments = {"--tls-psk", key_file_in(scene->source().folder())};
  TRY(scene->receive(options));
  // Memory is to be copied for a while: without a limit a move takes little longer than its programs to start.
  options.arguments.insert(options.arguments.end(), {"--codec", "raw", "--bandwidth", "100Mbit"});
  std::optional<Flood> flood;
  if (flooded) {
    flood.emplace(static_cast<std::uint16_t>(TRY(parse_address(scene->address())).port));
    if (!wait_until([&] { return flood->is_there(); }, seconds(20))) {
      return fail(ErrorKind::kTimedOut, "there is not a flood");
    }
  }
  const auto began = std::chrono::steady_clock::now();
  TRY(scene->send(options));
  TRY(scene->sender().wait(seconds(120)));
  Moved moved{.took = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count()};
  if (flood) {
    moved.opened = flood->opened();
    moved.closed = flood->closed();
  }
  // Everything that a move promises, and that nothing is left; with the flood still there.
  TRY(scene->expect_moved());
  moved.sink_memory = TRY(scene->sender().report()).value("sink_peak_memory", std::uint64_t{0});
  return moved;
}

void expect_no_harm(const Moved& calm, const Moved& flooded) {
  EXPECT_GE(flooded.opened, kFlood);
  EXPECT_GT(flooded.closed, kFlood / 2) << "the receiver has let hardly anybody go: was it there at all?";
  EXPECT_LE(flooded.sink_memory, calm.sink_memory + kMostGrowth);
  EXPECT_LE(flooded.took, kMostTimes * calm.took);
  std::cout << fmt::format(
      "without a flood: {:.2f} s, {:.1f} MiB; in a flood of {} connections, {} of them closed: {:.2f} "
      "s, {:.1f} MiB\n",
      calm.took, static_cast<double>(calm.sink_memory) / kMiB, flooded.opened, flooded.closed, flooded.took,
      static_cast<double>(flooded.sink_memory) / kMiB);
}

TEST(Flood, OfAThousandConnectionsDelaysNoMoveAndMakesNothingGrow) {
  if (!allow_descriptors()) GTEST_SKIP() << "this process may not open " << kDescriptors << " files";
  ASSIGN_OR_SKIP(calm, move(false));
  ASSIGN_OR_FAIL(flooded, move(true));
  expect_no_harm(calm, flooded);
}

TEST(FloodLong, DelaysNoneOfManyMoves) {
  if (!allow_descriptors()) GTEST_SKIP() << "this process may not open " << kDescriptors << " files";
  ASSIGN_OR_SKIP(calm, move(false));
  for (int i = 0; i < 20; ++i) {
    SCOPED_TRACE(i);
    ASSIGN_OR_FAIL(flooded, move(true));
    expect_no_harm(calm, flooded);
  }
}

}  // namespace
}  // namespace godwit::testing
