#include "base/standby.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>

namespace godwit {

void be_on_standby(int socket, const char* name) noexcept {
  ::setsid();
  ::prctl(PR_SET_NAME, name);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGTTIN, SIGTTOU, SIGPIPE, SIGUSR1, SIGUSR2}) {
    ::signal(signal, SIG_IGN);
  }
  const int nothing = ::open("/dev/null", O_RDWR);
  for (const int standard : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(nothing, standard);
  if (socket != kStandbySocket) ::dup2(socket, kStandbySocket);
  // KERNEL: close_range, Linux 5.9.
  ::syscall(SYS_close_range, kStandbySocket + 1, ~0U, 0);
  if (::chdir("/") != 0) return;  // and then a file system stays busy for some seconds longer
}

}  // namespace godwit
