#include "remote/remote_shell.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "base/kernel_abi.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

namespace godwit {

namespace {

// For a child that was told to end: ssh puts the terminal's settings back, which takes no time.
constexpr int kGraceMilliseconds = 2000;

struct ChildPipe {
  UniqueFd read;
  UniqueFd write;
};

/// Above the three that the child gets: where this process was started without one of these a pipe would have its
/// number.
Status move_up(UniqueFd& fd) {
  if (fd.get() > STDERR_FILENO) return {};
  UniqueFd higher(::fcntl(fd.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
  if (!higher) return fail_os("fcntl");
  fd = std::move(higher);
  return {};
}

Result<ChildPipe> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail_os("pipe");
  ChildPipe made{UniqueFd(ends[0]), UniqueFd(ends[1])};
  TRY(move_up(made.read));
  TRY(move_up(made.write));
  return made;
}

void never_wait(int fd) noexcept {
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
}

struct ChildStreams {
  int in;
  int out;
  int err;
};

/// In the child: only system calls. `parent`: it ends with that process; 0: it need not.
[[noreturn]] void become_remote_shell(char* const* words, pid_t parent, const ChildStreams& streams, int failed) {
  for (const int number : {SIGINT, SIGHUP, SIGTSTP}) std::signal(number, SIG_IGN);
  for (const int number : {SIGPIPE, SIGTTIN, SIGTTOU, SIGTERM}) std::signal(number, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  // Whatever becomes of this program, its ssh does not stay.
  if (parent != 0) ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  const bool has_parent = parent == 0 || ::getppid() == parent;
  if (has_parent && ::dup2(streams.in, 0) == 0 && ::dup2(streams.out, 1) == 1 && ::dup2(streams.err, 2) == 2) {
    ::execvp(words[0], words);
  }
  const int number = errno;
  (void)!::write(failed, &number, sizeof number);
  ::_exit(127);
}

/// The child's pidfd, once it has become the remote shell.
Result<UniqueFd> spawn(const std::vector<std::string>& words, pid_t parent, const ChildStreams& streams) {
  auto failed = TRY(make_pipe());
  std::vector<char*> pointers;
  for (const std::string& word : words) pointers.push_back(const_cast<char*>(word.c_str()));
  pointers.push_back(nullptr);
  const pid_t pid = ::fork();
  if (pid < 0) return fail_os("fork");
  if (pid == 0) become_remote_shell(pointers.data(), parent, streams, failed.write.get());
  failed.write.reset();
  int number = 0;
  ssize_t got = -1;
  do {
    got = ::read(failed.read.get(), &number, sizeof number);
  } while (got < 0 && errno == EINTR);
  UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (got > 0 || !process) {
    const int reason = got > 0 ? number : errno;
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    return fail(os_error(fmt::format("start '{}'", words.front()), reason));
  }
  return process;
}

}  // namespace

Result<RemoteShell> RemoteShell::start(const std::vector<std::string>& words) {
  auto in = TRY(make_pipe());
  auto out = TRY(make_pipe());
  auto err = TRY(make_pipe());
  RemoteShell shell;
  const ChildStreams far{in.read.get(), out.write.get(), err.write.get()};
  shell.process_ = TRY(spawn(words, ::getpid(), far));
  shell.input_ = std::move(in.write);
  shell.output_ = std::move(out.read);
  shell.errors_ = std::move(err.read);
  shell.errors_far_ = std::move(err.write);
  for (const UniqueFd* fd : {&shell.input_, &shell.output_, &shell.errors_}) never_wait(fd->get());
  return shell;
}

Result<RemoteShell> RemoteShell::start_on(const UniqueFd& stream, const UniqueFd& errors,
                                          const std::vector<std::string>& words) {
  RemoteShell shell;
  UniqueFd higher(::fcntl(stream.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
  if (!higher) return fail_os("fcntl");
  const ChildStreams far{higher.get(), higher.get(), errors.get()};
  shell.process_ = TRY(spawn(words, 0, far));
  return shell;
}

Result<UniqueFd> RemoteShell::errors_for_others() const {
  UniqueFd others(::fcntl(errors_far_.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
  if (!others) return fail_os("fcntl");
  return others;
}

RemoteShell::~RemoteShell() {
  if (!process_) return;
  input_.reset();
  for (const int number : {SIGTERM, SIGKILL}) {
    if (take_end()) return;
    signal(number);
    pollfd ended{process_.get(), POLLIN, 0};
    while (::poll(&ended, 1, kGraceMilliseconds) < 0 && errno == EINTR) {
    }
  }
  (void)take_end();
}

std::optional<ChildEnd> RemoteShell::take_end() {
  if (end_) return end_;
  siginfo_t info{};
  if (::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(process_.get()), &info, WEXITED | WNOHANG) != 0) {
    // Somebody else has taken it, such as a kernel that was told to (SIGCHLD ignored): how it ended nobody knows.
    if (errno == ECHILD) end_ = ChildEnd{};
    return end_;
  }
  if (info.si_pid == 0) return std::nullopt;
  end_ = info.si_code == CLD_EXITED ? ChildEnd{.code = info.si_status} : ChildEnd{.signal = info.si_status};
  return end_;
}

void RemoteShell::signal(int number) noexcept {
  if (!end_) (void)::syscall(SYS_pidfd_send_signal, process_.get(), number, nullptr, 0);
}

}  // namespace godwit
