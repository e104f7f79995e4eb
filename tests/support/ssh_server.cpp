#include "tests/support/ssh_server.h"

#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <fstream>

namespace godwit::testing {

namespace {
constexpr const char* kSshd = "/usr/sbin/sshd";
}  // namespace

Result<std::unique_ptr<SshServer>> SshServer::start(const std::string& address, int network_namespace) {
  if (::geteuid() != 0 || !std::filesystem::exists(kSshd)) {
    return fail(ErrorKind::kUnsupported, "an sshd needs root and openssh-server, which is not installed");
  }
  auto server = std::unique_ptr<SshServer>(new SshServer);
  server->folder_ = TRY(TempFolder::make("/tmp"));
  const auto at = [&](const char* name) { return (server->folder_.path() / name).string(); };
  for (const char* key : {"host", "user"}) {
    TRY(run_program({"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", at(key)}));
  }
  std::filesystem::create_directories("/run/sshd");  // into which sshd locks a part of itself
  // In a home of their own, since those of the machine's root may have start-up files that take a shell seconds.
  std::ofstream(at("config")) << "SetEnv HOME=" << server->folder_.path().string() << "\nListenAddress " << address
                              << ":" << port() << "\nHostKey " << at("host") << "\nAuthorizedKeysFile "
                              << at("user.pub")
                              << "\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nPidFile none\nPrintMotd no\n";
  std::ofstream(at("known")) << "[" << address << "]:" << port() << " " << read_text(at("host.pub"));
  server->server_ = TRY(ChildProcess::start({.command = {kSshd, "-D", "-e", "-f", at("config")},
                                             .output = at("server.out"),
                                             .errors = at("server.err"),
                                             .network_namespace = network_namespace}));
  TRY(server->server_->wait_for_error_line("Server listening", seconds(20)));
  return server;
}

SshServer::~SshServer() {
  if (server_) cut();
}

std::vector<std::string> SshServer::client() const {
  return {"ssh",
          "-F",
          "none",
          "-i",
          user_key().string(),
          "-o",
          "BatchMode=yes",
          "-o",
          "UserKnownHostsFile=" + known_hosts().string()};
}

std::vector<pid_t> SshServer::sessions() const {
  std::vector<pid_t> found = children_of(server_->pid(), "sshd");
  // A session may have a process without rights below it.
  for (std::size_t i = 0; i < found.size(); ++i) {
    const auto below = children_of(found[i], "sshd");
    found.insert(found.end(), below.begin(), below.end());
  }
  return found;
}

void SshServer::cut() const {
  for (const pid_t pid : sessions()) ::kill(pid, SIGKILL);
}

std::vector<pid_t> children_of(pid_t parent, const std::string& name) {
  std::vector<pid_t> found;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored)) {
    const std::string number = entry.path().filename();
    if (!std::all_of(number.begin(), number.end(), [](unsigned char c) { return c >= '0' && c <= '9'; })) continue;
    const std::string stat = read_text(entry.path() / "stat");
    const auto close = stat.rfind(')');
    const auto open = stat.find('(');
    if (close == std::string::npos || open == std::string::npos || close + 4 > stat.size()) continue;
    if (stat.substr(open + 1, close - open - 1) != name) continue;
    // "PID (name) S PPID"
    if (std::strtol(stat.c_str() + close + 4, nullptr, 10) == parent) found.push_back(std::stoi(number));
  }
  return found;
}

}  // namespace godwit::testing
