// The init of the test guest that uses devices: the only program in it.
//
// It loads the modules of all drivers, then obeys on its second serial line: a line in, a line out.
//
//   test --> "7 disk-write 17 4711"            guest --> "7 ok"
//   test --> "8 ping 52:54:00:00:00:01 10.0.1.2"  guest --> "8 error: 0 of 3 answered"
//
// The number comes back, so that an answer that is late or came twice is noticed. What it can do: commands.cpp.
#include <errno.h>
#include <fcntl.h>
#include <termios.h>
#include <unistd.h>

#include <cstdio>
#include <sstream>
#include <string>

#include "commands.h"
#include "system.h"

namespace {

using namespace godwit::guest;

constexpr const char* kLine = "/dev/ttyS1";
constexpr std::size_t kLongestLine = 4096;

int open_line() {
  const int line = ::open(kLine, O_RDWR | O_NOCTTY | O_CLOEXEC);
  termios settings{};
  if (line < 0 || ::tcgetattr(line, &settings) != 0) return -1;
  ::cfmakeraw(&settings);
  settings.c_cflag |= CLOCAL;
  ::cfsetspeed(&settings, B115200);
  return ::tcsetattr(line, TCSANOW, &settings) == 0 ? line : -1;
}

void answer(int line, const std::string& text) {
  std::size_t sent = 0;
  while (sent < text.size()) {
    const ssize_t n = ::write(line, text.data() + sent, text.size() - sent);
    if (n > 0) sent += static_cast<std::size_t>(n);
  }
}

void serve(int line) {
  std::string pending;
  char buffer[512];
  for (;;) {
    const ssize_t got = ::read(line, buffer, sizeof(buffer));
    if (got < 0 && errno != EINTR) {
      std::perror("GODWIT-GUEST read of its line");
      return;
    }
    if (got <= 0) continue;
    pending.append(buffer, static_cast<std::size_t>(got));
    for (auto end = pending.find('\n'); end != std::string::npos; end = pending.find('\n')) {
      std::istringstream words(pending.substr(0, end));
      std::string number;
      words >> number;
      answer(line, number + " " + obey(words) + "\n");
      pending.erase(0, end + 1);
    }
    if (pending.size() > kLongestLine) pending.clear();
  }
}

void run() {
  if (!mount_basics()) {
    std::perror("GODWIT-GUEST mount");
    return;
  }
  std::printf("GODWIT-GUEST UP\n");
  std::fflush(stdout);
  if (!load_modules("/modules.list")) return;
  const int line = open_line();
  if (line < 0) {
    std::perror("GODWIT-GUEST its line");
    return;
  }
  std::printf("GODWIT-GUEST READY\n");
  std::fflush(stdout);
  serve(line);
}

}  // namespace

int main() {
  run();
  std::printf("GODWIT-GUEST DOWN\n");
  std::fflush(stdout);
  power_off();
}
