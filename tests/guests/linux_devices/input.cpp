// Keyboards and pointers: what /dev/input tells.
#include <fcntl.h>
#include <linux/input.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <filesystem>
#include <map>

#include "commands.h"

namespace godwit::guest {
namespace {

constexpr int kEventMs = 10000;

/// All that there are, by path; those that have come since are opened too.
std::map<std::string, int>& inputs() {
  static std::map<std::string, int> files;
  std::error_code none;
  for (const auto& each : std::filesystem::directory_iterator("/dev/input", none)) {
    const std::string path = each.path();
    if (path.find("/event") == path.npos || files.contains(path)) continue;
    const int file = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (file >= 0) files[path] = file;
  }
  return files;
}

std::string name_of(int file) {
  char name[128] = "?";
  ::ioctl(file, EVIOCGNAME(sizeof(name) - 1), name);
  return name;
}

}  // namespace

/// input-forget NAME: what has come so far. Waits for a device with those words in its name.
std::string input_forget(std::istringstream& line) {
  std::string wanted;
  std::getline(line >> std::ws, wanted);
  std::string names;
  const bool there = wait_for([&] {
    names.clear();
    for (const auto& [path, file] : inputs()) names += name_of(file) + "; ";
    return names.find(wanted) != names.npos;
  });
  for (const auto& [path, file] : inputs()) {
    input_event event{};
    while (::read(file, &event, sizeof(event)) == sizeof(event)) {
    }
  }
  return there ? "ok" : "error: no " + wanted + " among " + names;
}

/// input TYPE CODE: the next event of that kind: its value, and the device's name.
std::string input(std::istringstream& line) {
  unsigned type = 0, code = 0;
  line >> type >> code;
  std::string others;
  for (int waited = 0; waited < kEventMs; waited += 50) {
    for (const auto& [path, file] : inputs()) {
      input_event event{};
      while (::read(file, &event, sizeof(event)) == sizeof(event)) {
        if (event.type == type && event.code == code) {
          return "ok " + std::to_string(event.value) + " " + name_of(file);
        }
        if (event.type != EV_SYN) others += " " + std::to_string(event.type) + "/" + std::to_string(event.code);
      }
    }
    short_pause();
  }
  return "error: no such event; others:" + others;
}

}  // namespace godwit::guest
