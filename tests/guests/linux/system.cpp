// See system.h.
#include "system.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

namespace godwit::guest {
namespace {

using namespace std::chrono_literals;

constexpr const char* kPrefix = "godwit.";

// Devices appear a moment after their module; under emulation on a busy host that may take seconds.
constexpr int kDeviceTries = 200;
constexpr auto kDeviceTryEvery = 50ms;

// The balloon among virtio's devices, and a feature's place in sysfs' row of zeros and ones: both from virtio's
// specification.
constexpr unsigned kBalloonDevice = 5;
constexpr std::size_t kFreePageHintBit = 3;

const std::string kVirtioDevices = "/sys/bus/virtio/devices/";
const std::string kBalloonDriver = "/sys/bus/virtio/drivers/virtio_balloon/";

bool complain(const std::string& what) {
  std::perror(("GODWIT-GUEST " + what).c_str());
  return false;
}

sockaddr as_sockaddr(in_addr address) {
  sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_addr = address;
  sockaddr out{};
  std::memcpy(&out, &in, sizeof(out));
  return out;
}

/// As "virtio2"; empty if there is no balloon.
std::string balloon_name() {
  std::error_code none;
  for (const auto& each : std::filesystem::directory_iterator(kVirtioDevices, none)) {
    unsigned kind = 0;
    if (std::ifstream(each.path() / "device") >> std::hex >> kind && kind == kBalloonDevice) {
      return each.path().filename();
    }
  }
  return "";
}

/// Whether the balloon's driver is bound afterwards as wanted.
bool bind_balloon(const std::string& name, bool bound) {
  const auto is_bound = [&name] { return !name.empty() && ::access((kBalloonDriver + name).c_str(), F_OK) == 0; };
  if (is_bound() != bound && !name.empty()) {
    std::ofstream(kBalloonDriver + (bound ? "bind" : "unbind")) << name << std::flush;
  }
  return is_bound() == bound;
}

bool raise_flag_up(int socket, const char* name) {
  ifreq request{};
  std::strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  if (::ioctl(socket, SIOCGIFFLAGS, &request) != 0) {
    return false;
  }
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP | IFF_RUNNING);
  return ::ioctl(socket, SIOCSIFFLAGS, &request) == 0;
}

}  // namespace

Settings Settings::from_kernel() {
  Settings settings;
  std::ifstream in("/proc/cmdline");
  const std::string prefix = kPrefix;
  for (std::string word; in >> word;) {
    const auto equals = word.find('=');
    if (word.starts_with(prefix) && equals != std::string::npos) {
      settings.values_[word.substr(prefix.size(), equals - prefix.size())] = word.substr(equals + 1);
    }
  }
  return settings;
}

std::string Settings::text(const std::string& name, const std::string& otherwise) const {
  const auto found = values_.find(name);
  return found == values_.end() ? otherwise : found->second;
}

std::uint64_t Settings::number(const std::string& name, std::uint64_t otherwise) const {
  const auto found = values_.find(name);
  return found == values_.end() ? otherwise : std::strtoull(found->second.c_str(), nullptr, 10);
}

bool mount_basics() {
  for (const char* path : {"/proc", "/sys", "/dev"}) {
    ::mkdir(path, 0755);
  }
  return ::mount("proc", "/proc", "proc", 0, nullptr) == 0 && ::mount("sysfs", "/sys", "sysfs", 0, nullptr) == 0 &&
         ::mount("devtmpfs", "/dev", "devtmpfs", 0, nullptr) == 0;
}

bool load_modules(const std::string& list) {
  std::ifstream in(list);
  bool ok = in.good();
  for (std::string path; std::getline(in, path);) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    // Some, as that of UEFI's variables, refuse to be loaded where what they drive is not there.
    if (fd < 0 || (::syscall(SYS_finit_module, fd, "", 0) != 0 && errno != EEXIST && errno != ENODEV)) {
      ok = complain("cannot load " + path);
    }
    if (fd >= 0) {
      ::close(fd);
    }
  }
  return ok;
}

bool wait_for_file(const std::string& path) {
  for (int i = 0; i < kDeviceTries; ++i) {
    if (::access(path.c_str(), F_OK) == 0) {
      return true;
    }
    std::this_thread::sleep_for(kDeviceTryEvery);
  }
  return complain("timed out waiting for " + path);
}

bool bring_up_network(const std::string& address) {
  const auto slash = address.find('/');
  const int prefix = slash == std::string::npos ? 24 : std::atoi(address.c_str() + slash + 1);
  in_addr ip{};
  if (prefix < 1 || prefix > 31 || ::inet_pton(AF_INET, address.substr(0, slash).c_str(), &ip) != 1) {
    return complain("address " + address);
  }
  if (!wait_for_file("/sys/class/net/eth0")) {
    return false;
  }
  const int socket = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq request{};
  std::strncpy(request.ifr_name, "eth0", IFNAMSIZ - 1);
  request.ifr_addr = as_sockaddr(ip);
  bool ok = raise_flag_up(socket, "lo") && ::ioctl(socket, SIOCSIFADDR, &request) == 0;
  request.ifr_addr = as_sockaddr({htonl(~std::uint32_t{0} << (32 - prefix))});
  ok = ok && ::ioctl(socket, SIOCSIFNETMASK, &request) == 0 && raise_flag_up(socket, "eth0");
  if (!ok) {
    complain("network");
  }
  ::close(socket);
  return ok;
}

bool start_free_page_hints() {
  const std::string name = balloon_name();
  std::string features;
  return bind_balloon(name, true) && std::ifstream(kVirtioDevices + name + "/features") >> features &&
         features.size() > kFreePageHintBit && features[kFreePageHintBit] == '1';
}

bool unbind_balloon() {
  return bind_balloon(balloon_name(), false);
}

std::string boot_id() {
  std::string id = "unknown";
  std::ifstream("/proc/sys/kernel/random/boot_id") >> id;
  return id;
}

std::uint64_t free_memory_kb() {
  struct sysinfo info {};
  return ::sysinfo(&info) == 0 ? std::uint64_t{info.freeram} * info.mem_unit / 1024 : 0;
}

double uptime() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

void power_off() {
  ::sync();
  ::reboot(RB_POWER_OFF);
  for (;;) {
    ::pause();
  }
}

}  // namespace godwit::guest
