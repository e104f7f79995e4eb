#include "tests/support/godwit_child.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <fstream>
#include <sstream>
#include <thread>

#include "base/unique_fd.h"
#include "tests/support/godwit_temp_folder.h"

namespace godwit::testing {
namespace {

/// Everything that the child needs, laid out before fork: after it only system calls are safe.
struct Prepared {
  std::vector<std::string> environment;
  std::vector<char*> arguments;
  std::vector<char*> variables;
};

Prepared prepare(const ChildOptions& options) {
  Prepared prepared;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    if (options.environment.count(text.substr(0, text.find('='))) == 0) prepared.environment.push_back(text);
  }
  for (const auto& [name, value] : options.environment) prepared.environment.push_back(name + "=" + value);
  for (const auto& argument : options.command) prepared.arguments.push_back(const_cast<char*>(argument.c_str()));
  prepared.arguments.push_back(nullptr);
  for (auto& entry : prepared.environment) prepared.variables.push_back(entry.data());
  prepared.variables.push_back(nullptr);
  return prepared;
}

[[noreturn]] void become(const ChildOptions& options, const Prepared& prepared, pid_t parent, int out, int err) {
  if (options.network_namespace >= 0 && ::setns(options.network_namespace, CLONE_NEWNET) != 0) ::_exit(126);
  if (options.user) {
    if (::setgroups(0, nullptr) != 0 || ::setgid(*options.user) != 0 || ::setuid(*options.user) != 0) ::_exit(126);
  }
  // Asked for after the change of user, which would clear it; and the parent may have died meanwhile.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(126);
  const int null = ::open("/dev/null", O_RDONLY);
  ::dup2(null, 0);
  ::dup2(out, 1);
  ::dup2(err, 2);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGINT, SIG_DFL);
  ::execvpe(prepared.arguments[0], prepared.arguments.data(), prepared.variables.data());
  ::_exit(127);
}

Result<UniqueFd> open_output(const std::filesystem::path& path) {
  UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
  if (!file) return fail_os("open " + path.string());
  return file;
}

}  // namespace

Result<std::unique_ptr<ChildProcess>> ChildProcess::start(const ChildOptions& options) {
  const auto out = TRY(open_output(options.output));
  const auto err = TRY(open_output(options.errors));
  const Prepared prepared = prepare(options);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) return fail_os("fork");
  if (pid == 0) become(options, prepared, parent, out.get(), err.get());
  return std::unique_ptr<ChildProcess>(new ChildProcess(pid, options));
}

ChildProcess::~ChildProcess() {
  kill();
}

void ChildProcess::reap(bool block) noexcept {
  if (ended_) return;
  int status = 0;
  pid_t got = -1;
  do {
    got = ::waitpid(pid_, &status, block ? 0 : WNOHANG);
  } while (got < 0 && errno == EINTR);
  if (got == 0) return;
  Ended ended;
  if (got == pid_ && WIFEXITED(status)) ended.code = WEXITSTATUS(status);
  if (got == pid_ && WIFSIGNALED(status)) ended.signal = WTERMSIG(status);
  ended_ = ended;
}

bool ChildProcess::alive() {
  reap(false);
  return !ended_;
}

Result<Ended> ChildProcess::wait(milliseconds limit) {
  if (!wait_until([this] { return !alive(); }, limit)) {
    return fail(ErrorKind::kTimedOut, fmt::format("{} goes on after {} ms; its errors so far: {}", options_.command[0],
                                                  limit.count(), errors()));
  }
  return *ended_;
}

Status ChildProcess::wait_until_stopped(milliseconds limit) {
  bool stopped = false;
  wait_until(
      [&] {
        siginfo_t info{};
        if (::waitid(P_PID, static_cast<id_t>(pid_), &info, WSTOPPED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid_) {
          stopped = true;
        }
        return stopped || !alive();
      },
      limit);
  if (stopped) {
    siginfo_t taken{};
    ::waitid(P_PID, static_cast<id_t>(pid_), &taken, WSTOPPED | WNOHANG);
    return {};
  }
  if (!alive()) return fail(ErrorKind::kPeerLost, "it ended before it stopped: " + errors());
  return fail(ErrorKind::kTimedOut, "it does not stop: " + errors());
}

Status ChildProcess::send_signal(int signal) {
  if (!alive()) return fail(ErrorKind::kNotFound, "the process has ended: " + errors());
  if (::kill(pid_, signal) != 0) return fail_os("kill");
  return {};
}

void ChildProcess::kill() noexcept {
  reap(false);
  if (ended_) return;
  ::kill(pid_, SIGKILL);
  reap(true);
}

std::string ChildProcess::output() const {
  return read_text(options_.output);
}
std::string ChildProcess::errors() const {
  return read_text(options_.errors);
}

Result<std::string> ChildProcess::wait_for_error_line(const std::string& text, milliseconds limit) {
  std::string found;
  const auto look = [&] {
    const bool ended = !alive();  // before reading, so that the last line is not missed
    std::istringstream lines(errors());
    for (std::string line; std::getline(lines, line);) {
      // A line is whole only if its end has been written.
      if (line.find(text) != std::string::npos && !lines.eof()) {
        found = line;
        return true;
      }
    }
    return ended;
  };
  if (!wait_until(look, limit)) {
    return fail(ErrorKind::kTimedOut, fmt::format("no line with '{}' in: {}", text, errors()));
  }
  if (found.empty()) return fail(ErrorKind::kPeerLost, fmt::format("ended without '{}': {}", text, errors()));
  return found;
}

Result<std::string> run_program(const std::vector<std::string>& command, milliseconds limit) {
  const auto folder = TRY(TempFolder::make("/tmp"));
  ChildOptions options;
  options.command = command;
  options.output = options.errors = folder.path() / "output";
  const auto child = TRY(ChildProcess::start(options));
  const Ended ended = TRY(child->wait(limit));
  if (ended.code != 0) {
    std::string line;
    for (const auto& word : command) line += word + " ";
    return fail(ErrorKind::kIo, fmt::format("{}: exit code {}: {}", line, ended.code, child->output()));
  }
  return child->output();
}

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void nap(milliseconds duration) {
  std::this_thread::sleep_for(duration);
}

}  // namespace godwit::testing
