// What it costs to bring raw pages from a guest's RAM file to a socket: by way of the lane's buffer, or straight.
//
//   copy      pread into a buffer that stays in L2, look for zeros, send                    (what lanes do)
//   straight  look for zeros in a mapping of the file, send from there
//   zerocopy  the same with MSG_ZEROCOPY: on loopback the kernel copies all the same, and says so
//
// Over TCP on loopback to a thread that reads into a buffer of its own. All contenders take turns; a first, untimed
// round checks that what arrives is what was sent. Prints medians of wall and CPU time (sender and receiver) over the
// rounds.
#include <fmt/core.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string_view>
#include <thread>
#include <vector>

#include "host/host_profile.h"
#include "memory/kernels.h"

namespace {

using namespace godwit;

constexpr std::size_t kChunks = 2048;  // 512 MiB
constexpr int kRounds = 7;

[[noreturn]] void die(std::string_view what) {
  fmt::print(stderr, "{}: {}\n", what, std::strerror(errno));
  std::exit(1);
}

struct Ram {
  int file = -1;
  const std::byte* mapped = nullptr;
  std::uint64_t hash = 0;
};

Ram make_ram() {
  Ram ram{.file = ::memfd_create("send_copies", MFD_CLOEXEC)};
  if (ram.file < 0 || ::ftruncate(ram.file, kChunks * kChunkSize) != 0) die("memfd");
  void* const at = ::mmap(nullptr, kChunks * kChunkSize, PROT_READ | PROT_WRITE, MAP_SHARED, ram.file, 0);
  if (at == MAP_FAILED) die("mmap");
  std::mt19937_64 random(1);
  auto* const words = static_cast<std::uint64_t*>(at);
  for (std::size_t i = 0; i < kChunks * kChunkSize / 8; ++i) words[i] = random();
  ram.mapped = static_cast<const std::byte*>(at);
  ram.hash = XXH3_64bits(at, kChunks * kChunkSize);
  return ram;
}

struct Connection {
  int near = -1;
  int far = -1;
};

Connection connect_on_loopback() {
  const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  if (::bind(listener, generic, size) != 0 || ::listen(listener, 1) != 0) die("listen");
  if (::getsockname(listener, generic, &size) != 0) die("getsockname");
  Connection made{.near = ::socket(AF_INET, SOCK_STREAM, 0)};
  if (::connect(made.near, generic, size) != 0) die("connect");
  made.far = ::accept(listener, nullptr, nullptr);
  if (made.far < 0) die("accept");
  ::close(listener);
  return made;
}

void send_all(int socket, const std::byte* bytes, std::size_t size, int flags) {
  while (size > 0) {
    const ssize_t sent = ::send(socket, bytes, size, flags);
    if (sent < 0 && errno == ENOBUFS) continue;  // of MSG_ZEROCOPY: notifications wait to be read
    if (sent < 0) die("send");
    bytes += sent;
    size -= static_cast<std::size_t>(sent);
  }
}

/// Gives back what the kernel has noted of finished zero-copy sends.
void read_notifications(int socket) {
  char control[256];
  msghdr message{};
  message.msg_control = control;
  do {
    message.msg_controllen = sizeof control;
  } while (::recvmsg(socket, &message, MSG_ERRQUEUE | MSG_DONTWAIT) >= 0);
}

using Send = void (*)(const Ram& ram, const Kernels& kernels, int socket);

void send_by_copy(const Ram& ram, const Kernels& kernels, int socket) {
  static std::byte* const buffer = static_cast<std::byte*>(std::aligned_alloc(64, kChunkSize));
  for (std::size_t c = 0; c < kChunks; ++c) {
    if (::pread(ram.file, buffer, kChunkSize, static_cast<off_t>(c * kChunkSize)) != ssize_t{kChunkSize}) die("pread");
    if (kernels.uniform_pages(buffer, kPagesPerChunk) != 0) die("the content is not as it was made");
    send_all(socket, buffer, kChunkSize, MSG_NOSIGNAL);
  }
}

void send_from_mapping(const Ram& ram, const Kernels& kernels, int socket, int flags) {
  for (std::size_t c = 0; c < kChunks; ++c) {
    const std::byte* const chunk = ram.mapped + c * kChunkSize;
    if (kernels.uniform_pages(chunk, kPagesPerChunk) != 0) die("the content is not as it was made");
    send_all(socket, chunk, kChunkSize, MSG_NOSIGNAL | flags);
    if (flags != 0) read_notifications(socket);
  }
}

void send_straight(const Ram& ram, const Kernels& kernels, int socket) {
  send_from_mapping(ram, kernels, socket, 0);
}

void send_zerocopy(const Ram& ram, const Kernels& kernels, int socket) {
  const int on = 1;
  if (::setsockopt(socket, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof on) != 0) die("SO_ZEROCOPY");
  send_from_mapping(ram, kernels, socket, MSG_ZEROCOPY);
}

struct Contender {
  std::string_view name;
  Send send;
  std::vector<double> wall{};
  std::vector<double> cpu{};
};

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto of = [](const timeval& t) { return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6; };
  return of(usage.ru_utime) + of(usage.ru_stime);
}

/// One transfer; with `check`, what arrives is hashed, which takes its time.
void run(Contender& contender, const Ram& ram, const Kernels& kernels, bool check) {
  const Connection connection = connect_on_loopback();
  const double cpu = cpu_seconds();
  const auto began = std::chrono::steady_clock::now();
  std::thread sender([&] { contender.send(ram, kernels, connection.near); });
  std::vector<std::byte> buffer(kChunkSize);
  XXH3_state_t* const state = XXH3_createState();
  XXH3_64bits_reset(state);
  for (std::size_t c = 0; c < kChunks; ++c) {
    if (::recv(connection.far, buffer.data(), kChunkSize, MSG_WAITALL) != ssize_t{kChunkSize}) die("recv");
    if (check) XXH3_64bits_update(state, buffer.data(), kChunkSize);
  }
  sender.join();
  if (check && XXH3_64bits_digest(state) != ram.hash) die("other bytes arrived than were sent");
  XXH3_freeState(state);
  if (!check) {
    contender.wall.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
    contender.cpu.push_back(cpu_seconds() - cpu);
  }
  ::close(connection.near);
  ::close(connection.far);
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

}  // namespace

int main() {
  const Kernels& kernels = best_kernels(probe_host());
  const Ram ram = make_ram();
  std::vector<Contender> contenders = {
      {"copy", send_by_copy}, {"straight", send_straight}, {"zerocopy", send_zerocopy}};
  for (auto& each : contenders) run(each, ram, kernels, true);
  for (int round = 0; round < kRounds; ++round) {
    for (auto& each : contenders) run(each, ram, kernels, false);
  }
  fmt::print("| contender | wall s | to copy | spread | CPU s | to copy |\n|---|---|---|---|---|---|\n");
  for (const auto& each : contenders) {
    const auto [least, most] = std::ranges::minmax(each.wall);
    fmt::print("| {} | {:.3f} | {:.2f} | {:.2f} | {:.3f} | {:.2f} |\n", each.name, median(each.wall),
               median(each.wall) / median(contenders[0].wall), most / least, median(each.cpu),
               median(each.cpu) / median(contenders[0].cpu));
  }
  return 0;
}
