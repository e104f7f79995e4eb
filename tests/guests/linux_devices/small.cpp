// Devices that take a few lines each.
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "commands.h"

namespace godwit::guest {
namespace {

constexpr const char* kPortName = "org.godwit.test";
constexpr int kPortMs = 20000;

int open_port(int how) {
  std::error_code none;
  std::string device;
  wait_for([&] {
    for (const auto& each : std::filesystem::directory_iterator("/sys/class/virtio-ports", none)) {
      std::string name;
      if (std::ifstream(each.path() / "name") >> name && name == kPortName) device = each.path().filename();
    }
    return !device.empty();
  });
  return ::open(("/dev/" + device).c_str(), how | O_CLOEXEC);
}

/// Open for ever, as an agent has it.
int port() {
  static const int file = open_port(O_RDWR);
  return file;
}

}  // namespace

/// 64 bytes of the device's, as hex digits.
std::string random_bytes(std::istringstream&) {
  unsigned char bytes[64] = {};
  const int file = ::open("/dev/hwrng", O_RDONLY | O_CLOEXEC);
  if (file < 0) return os_error("/dev/hwrng");
  std::size_t got = 0;
  while (got < sizeof(bytes)) {
    const ssize_t n = ::read(file, bytes + got, sizeof(bytes) - got);
    if (n <= 0) break;
    got += static_cast<std::size_t>(n);
  }
  const std::string failed = got < sizeof(bytes) ? os_error("read /dev/hwrng") : "";
  ::close(file);
  if (!failed.empty()) return failed;
  std::string text = "ok ";
  for (const unsigned char byte : bytes) {
    char digits[3];
    std::snprintf(digits, sizeof(digits), "%02x", byte);
    text += digits;
  }
  return text;
}

std::string memory(std::istringstream&) {
  std::ifstream in("/proc/meminfo");
  std::string name, unit;
  std::uint64_t kilobytes = 0, total = 0, free = 0;
  while (in >> name >> kilobytes) {
    std::getline(in, unit);
    if (name == "MemTotal:") total = kilobytes;
    if (name == "MemFree:") free = kilobytes;
  }
  return "ok " + std::to_string(total) + " " + std::to_string(free);
}

std::string port_send(std::istringstream& line) {
  std::string text;
  line >> text;
  text += "\n";
  if (port() < 0) return os_error("the port");
  return ::write(port(), text.data(), text.size()) == static_cast<ssize_t>(text.size()) ? "ok"
                                                                                        : os_error("write to the port");
}

std::string port_receive(std::istringstream&) {
  if (port() < 0) return os_error("the port");
  std::string text;
  for (int waited = 0; waited < kPortMs; waited += 50) {
    pollfd waiting{port(), POLLIN, 0};
    // Nobody at the other end is told at once, too.
    if (::poll(&waiting, 1, 50) <= 0 || (waiting.revents & POLLIN) == 0) {
      short_pause();
      continue;
    }
    char buffer[256];
    const ssize_t got = ::read(port(), buffer, sizeof(buffer));
    if (got <= 0) {
      short_pause();
      continue;
    }
    text.append(buffer, static_cast<std::size_t>(got));
    if (text.find('\n') != text.npos) return "ok " + text.substr(0, text.find('\n'));
  }
  return "error: nothing came: " + text;
}

std::string cpus(std::istringstream&) {
  return "ok " + std::to_string(::sysconf(_SC_NPROCESSORS_ONLN));
}

}  // namespace godwit::guest
