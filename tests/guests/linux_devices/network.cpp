// Network cards: an address on one, and pings through that one only.
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <vector>

#include "commands.h"

namespace godwit::guest {
namespace {

constexpr std::size_t kPayload = 1200;  // fills most of a frame
constexpr int kPings = 3;
constexpr int kAnswerMs = 3000;

std::string name_of(const std::string& mac) {
  std::error_code none;
  for (const auto& each : std::filesystem::directory_iterator("/sys/class/net", none)) {
    std::string found;
    if (std::ifstream(each.path() / "address") >> found && found == mac) return each.path().filename();
  }
  return "";
}

void set_address(sockaddr& into, in_addr_t address) {
  sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_addr.s_addr = address;
  std::memcpy(&into, &in, sizeof(in));
}

std::uint16_t checksum(const void* data, std::size_t size) {
  std::uint32_t sum = 0;
  const auto* words = static_cast<const std::uint16_t*>(data);
  for (std::size_t i = 0; i < size / 2; ++i) sum += words[i];
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

struct Packet {
  icmphdr header;
  unsigned char payload[kPayload];
};

bool ping_once(int socket, in_addr_t to, std::uint16_t sequence) {
  Packet sent{};
  sent.header.type = ICMP_ECHO;
  sent.header.un.echo.id = htons(4711);
  sent.header.un.echo.sequence = htons(sequence);
  for (std::size_t i = 0; i < kPayload; ++i) sent.payload[i] = static_cast<unsigned char>(i * 7 + sequence);
  sent.header.checksum = checksum(&sent, sizeof(sent));
  sockaddr where{};
  set_address(where, to);
  if (::sendto(socket, &sent, sizeof(sent), 0, &where, sizeof(where)) != static_cast<ssize_t>(sizeof(sent))) {
    return false;
  }
  using clock = std::chrono::steady_clock;
  const auto end = clock::now() + std::chrono::milliseconds(kAnswerMs);
  for (auto now = clock::now(); now < end; now = clock::now()) {
    pollfd waiting{socket, POLLIN, 0};
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - now).count();
    if (::poll(&waiting, 1, static_cast<int>(left) + 1) <= 0) return false;
    unsigned char buffer[2048];
    const ssize_t got = ::recv(socket, buffer, sizeof(buffer), 0);
    const std::size_t skip = got > 0 ? static_cast<std::size_t>(buffer[0] & 0xf) * 4 : 0;
    if (got < static_cast<ssize_t>(skip + sizeof(Packet))) continue;
    Packet answer;
    std::memcpy(&answer, buffer + skip, sizeof(answer));
    if (answer.header.type == ICMP_ECHOREPLY && answer.header.un.echo.sequence == sent.header.un.echo.sequence &&
        std::memcmp(answer.payload, sent.payload, kPayload) == 0) {
      return true;
    }
  }
  return false;
}

}  // namespace

std::string net_up(std::istringstream& line) {
  std::string mac, address, name;
  line >> mac >> address;
  if (!wait_for([&] { return !(name = name_of(mac)).empty(); })) return "error: no network card " + mac;
  const int socket = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq request{};
  std::strncpy(request.ifr_name, name.c_str(), IFNAMSIZ - 1);
  set_address(request.ifr_addr, ::inet_addr(address.c_str()));
  bool ok = ::ioctl(socket, SIOCSIFADDR, &request) == 0;
  set_address(request.ifr_addr, ::inet_addr("255.255.255.0"));
  ok = ok && ::ioctl(socket, SIOCSIFNETMASK, &request) == 0 && ::ioctl(socket, SIOCGIFFLAGS, &request) == 0;
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP | IFF_RUNNING);
  ok = ok && ::ioctl(socket, SIOCSIFFLAGS, &request) == 0;
  const std::string answer = ok ? "ok " + name : os_error(name);
  ::close(socket);
  if (!ok) return answer;
  const auto carrier = [&] {
    int has = 0;
    return std::ifstream("/sys/class/net/" + name + "/carrier") >> has && has == 1;
  };
  return wait_for(carrier) ? answer : "error: no carrier on " + name;
}

std::string ping(std::istringstream& line) {
  std::string mac, address;
  line >> mac >> address;
  const std::string name = name_of(mac);
  if (name.empty()) return "error: no network card " + mac;
  const int socket = ::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
  if (socket < 0 ||
      ::setsockopt(socket, SOL_SOCKET, SO_BINDTODEVICE, name.c_str(), static_cast<socklen_t>(name.size() + 1)) != 0) {
    return os_error("a socket for pings");
  }
  int answered = 0;
  static std::uint16_t sequence = 0;
  for (int i = 0; i < kPings; ++i) answered += ping_once(socket, ::inet_addr(address.c_str()), ++sequence) ? 1 : 0;
  ::close(socket);
  const std::string found = std::to_string(answered) + " of " + std::to_string(kPings) + " answered";
  return answered == kPings ? "ok " + found : "error: " + found;
}

}  // namespace godwit::guest
