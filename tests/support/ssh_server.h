// An sshd of a test's own: on an address of its choice, with keys that are thrown away with it. It takes root, by key.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "tests/support/godwit_child.h"
#include "tests/support/godwit_temp_folder.h"

namespace godwit::testing {

class SshServer {
 public:
  /// kUnsupported where openssh-server is missing, or this user is not root.
  static Result<std::unique_ptr<SshServer>> start(const std::string& address, int network_namespace);
  /// Ends what is left of its sessions, too.
  ~SshServer();

  static std::string port() { return "2222"; }
  /// ssh with what it needs to log in here without a question: no configuration of this machine's user.
  std::vector<std::string> client() const;
  std::filesystem::path user_key() const { return folder_.path() / "user"; }
  std::filesystem::path known_hosts() const { return folder_.path() / "known"; }
  std::string errors() const { return server_->errors(); }
  /// The processes of its sessions, but not what they have started.
  std::vector<pid_t> sessions() const;
  /// As when the connection breaks, and sshd has noticed: SIGKILL for its sessions.
  void cut() const;

 private:
  SshServer() = default;
  TempFolder folder_;
  std::unique_ptr<ChildProcess> server_;
};

/// Processes of that name whose parent is `parent`.
std::vector<pid_t> children_of(pid_t parent, const std::string& name);

}  // namespace godwit::testing
