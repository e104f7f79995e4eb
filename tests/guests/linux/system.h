// What an init must do before anything else works: file systems, modules, network; and the kernel command line.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace godwit::guest {

/// The `godwit.*` words of the kernel command line, without the prefix: "godwit.rate=100" is rate -> 100.
class Settings {
 public:
  static Settings from_kernel();
  std::string text(const std::string& name, const std::string& otherwise) const;
  std::uint64_t number(const std::string& name, std::uint64_t otherwise) const;

 private:
  std::map<std::string, std::string> values_;
};

/// Mounts /proc, /sys and /dev.
bool mount_basics();
/// Loads the modules named in `list`, one path a line, in that order.
bool load_modules(const std::string& list);
/// Brings lo and eth0 up; `address` is like 10.0.0.2/24. Waits some seconds for eth0 to appear.
bool bring_up_network(const std::string& address);
/// Waits some seconds for a file to appear.
bool wait_for_file(const std::string& path);
/// Binds the balloon's driver and looks whether it has agreed with QEMU on free-page hints. Call from one thread.
bool start_free_page_hints();
/// Leaves the balloon without a driver, and QEMU's migration without hints.
bool unbind_balloon();
/// A random number that tells this boot from any other.
std::string boot_id();
std::uint64_t free_memory_kb();
/// Seconds since the boot.
double uptime();
[[noreturn]] void power_off();

}  // namespace godwit::guest
