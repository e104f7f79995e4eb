#include "tests/support/net_lab.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <thread>

#include "tests/support/godwit_child.h"
#include "tests/support/godwit_temp_folder.h"

namespace godwit::testing {
namespace {

constexpr const char* kNamespaces = "/run/netns";

Status run(const std::string& line) {
  TRY(run_program({"/bin/sh", "-c", line}));
  return {};
}

/// What test programs that died left behind.
void sweep() {
  std::error_code error;
  for (std::filesystem::directory_iterator entry(kNamespaces, error), end; !error && entry != end;
       entry.increment(error)) {
    const auto name = entry->path().filename().string();
    if (of_dead_test(name)) (void)run("ip netns del " + name);
  }
}

Result<UniqueFd> open_namespace(const std::string& name) {
  UniqueFd fd(::open((std::filesystem::path(kNamespaces) / name).c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return fail_os("open namespace " + name);
  return fd;
}

/// Asks a port where nobody listens: "refused" is an answer too.
bool answered(const std::string& address) {
  UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(9);
  ::inet_pton(AF_INET, address.c_str(), &to.sin_addr);
  if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)) == 0) return true;
  if (errno == ECONNREFUSED) return true;
  if (errno != EINPROGRESS) return false;
  pollfd wait{socket.get(), POLLOUT, 0};
  if (::poll(&wait, 1, 1000) != 1) return false;
  int error = 0;
  socklen_t length = sizeof(error);
  ::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &length);
  return error == 0 || error == ECONNREFUSED;
}

}  // namespace

Result<std::unique_ptr<NetLab>> NetLab::make(BitRate rate) {
  sweep();
  auto lab = std::unique_ptr<NetLab>(new NetLab);
  lab->source_name_ = test_prefix() + "source";
  lab->sink_name_ = test_prefix() + "sink";
  TRY_IN("network namespaces", lab->build(rate));
  return lab;
}

Status NetLab::build(BitRate rate) {
  TRY(run("ip netns add " + source_name_));
  TRY(run("ip netns add " + sink_name_));
  TRY(run(fmt::format("ip -n {0} link add name wire type veth peer name wire netns {1}", source_name_, sink_name_)));
  for (const auto& [name, address] : {std::pair(source_name_, source_address()), {sink_name_, sink_address()}}) {
    TRY(run(fmt::format("ip -n {0} addr add {1}/30 dev wire && ip -n {0} link set wire up && ip -n {0} link set lo up",
                        name, address)));
    if (rate.bits_per_second == 0) continue;
    // A bucket of 4 ms' worth: smaller ones cannot reach the rate with this kernel's timers.
    const auto burst = std::max<std::uint64_t>(512 * kKiB, rate.bits_per_second / 8 / 250);
    TRY(run(fmt::format("tc -n {} qdisc add dev wire root tbf rate {}bit burst {} latency 20ms", name,
                        rate.bits_per_second, burst)));
  }
  source_ = TRY(open_namespace(source_name_));
  sink_ = TRY(open_namespace(sink_name_));
  return {};
}

NetLab::~NetLab() {
  for (const auto& name : {source_name_, sink_name_}) {
    if (std::filesystem::exists(std::filesystem::path(kNamespaces) / name)) (void)run("ip netns del " + name);
  }
}

// Packets go to a hardware address that nobody has: an interface that is down would answer "no route" at once.
Status NetLab::cut() {
  for (const auto& name : {source_name_, sink_name_}) {
    TRY(run(fmt::format("ip -n {} neigh replace {} lladdr 02:00:00:00:00:99 nud permanent dev wire", name,
                        name == source_name_ ? sink_address() : source_address())));
  }
  return {};
}

Status NetLab::repair() {
  for (const auto& name : {source_name_, sink_name_}) {
    TRY(run(
        fmt::format("ip -n {} neigh del {} dev wire", name, name == source_name_ ? sink_address() : source_address())));
  }
  return {};
}

// source wire ==== wire [bridge] port ==== inner sink: a bridge drops what is too long for the interface that it goes
// out by. Only the sink's own interface answers for its address, and the source makes packets of their final size.
Status NetLab::lose_packets_above(unsigned bytes) {
  const std::string in_sink = "ip -n " + sink_name_ + " ";
  for (const std::string& line : {
           "ip -n " + source_name_ + " link set wire gso_max_segs 1",
           in_sink + "addr flush dev wire",
           in_sink + "link add bridge type bridge",
           in_sink + "link add name inner type veth peer name port",
           in_sink + "link set inner gso_max_segs 1",
           in_sink + "link set wire master bridge",
           in_sink + "link set port master bridge",
           in_sink + "link set port mtu " + std::to_string(bytes),
           in_sink + "link set bridge arp off",
           in_sink + "link set bridge up",
           in_sink + "link set port up",
           in_sink + "link set inner up",
           in_sink + "addr add " + sink_address() + "/30 dev inner",
       }) {
    TRY(run(line));
  }
  return {};
}

bool NetLab::carries() const {
  bool carried = false;
  // A thread of its own, because a namespace is a thread's.
  std::thread([&] { carried = ::setns(source_.get(), CLONE_NEWNET) == 0 && answered(sink_address()); }).join();
  return carried;
}

}  // namespace godwit::testing
