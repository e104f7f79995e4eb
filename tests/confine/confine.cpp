// confine HOW COMMAND...: becomes COMMAND, confined as some host or some manager would have it.
//
//   deny-userfaultfd    under a seccomp filter: userfaultfd returns EPERM, as container runtimes have it
//   kill-userfaultfd    it kills the process
//   kill-ioctl-new      and so does making one by ioctl
//   namespaces          in user, mount, PID and IPC namespaces of its own; the command is a child then
//   hidden-ram          in a mount namespace in which the folder of mem-path=FOLDER/... is a tmpfs that nobody else
//   sees
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

constexpr unsigned kNewByIoctl = 0xAA00;  // USERFAULTFD_IOC_NEW

[[noreturn]] void give_up(const char* what) {
  std::perror(what);
  std::exit(126);
}

std::vector<sock_filter> filter_for(const std::string& how) {
  const unsigned verdict = how == "deny-userfaultfd" ? SECCOMP_RET_ERRNO | 1 : SECCOMP_RET_KILL_PROCESS;
  std::vector<sock_filter> filter = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, verdict),
  };
  if (how == "kill-ioctl-new") {
    filter.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3));
    filter.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args) + 8));
    filter.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kNewByIoctl, 0, 1));
    filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS));
  }
  filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  return filter;
}

void install_filter(const std::string& how) {
  auto filter = filter_for(how);
  const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0) {
    give_up("seccomp");
  }
}

void write_file(const char* path, const std::string& text) {
  const int fd = ::open(path, O_WRONLY | O_CLOEXEC);
  if (fd < 0 || ::write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size())) give_up(path);
  ::close(fd);
}

/// The child goes on; the parent ends as it does.
void enter_namespaces() {
  const auto user = std::to_string(::geteuid());
  const auto group = std::to_string(::getegid());
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC) != 0) give_up("unshare");
  write_file("/proc/self/uid_map", "0 " + user + " 1");
  write_file("/proc/self/setgroups", "deny");
  write_file("/proc/self/gid_map", "0 " + group + " 1");
  const pid_t child = ::fork();
  if (child < 0) give_up("fork");
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    return;
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  std::_Exit(WIFEXITED(status) ? WEXITSTATUS(status) : 125);
}

void hide_ram(int count, char** words) {
  if (::unshare(CLONE_NEWNS) != 0) give_up("unshare");
  if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) give_up("make mounts private");
  constexpr const char* kPath = "mem-path=";
  for (int i = 0; i < count; ++i) {
    const std::string word = words[i];
    const auto at = word.find(kPath);
    if (at == std::string::npos) continue;
    const std::string path = word.substr(at + 9, word.find(',', at) - at - 9);
    const std::string folder = path.substr(0, path.rfind('/'));
    if (::mount("hidden", folder.c_str(), "tmpfs", 0, nullptr) != 0) give_up(folder.c_str());
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const std::string how = argv[1];
  if (how == "namespaces") {
    enter_namespaces();
  } else if (how == "hidden-ram") {
    hide_ram(argc, argv);
  } else {
    install_filter(how);
  }
  ::execv(argv[2], argv + 2);
  give_up(argv[2]);
}
