// A scene between two network namespaces with an sshd at the sink: `godwit send --to ssh://...` moves by it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/integration/far_side.h"
#include "tests/support/ssh_server.h"

namespace godwit::testing {

struct SshScene {
  std::unique_ptr<NetLab> lab;
  std::unique_ptr<SshServer> server;
  std::unique_ptr<Scene> scene;
  std::unique_ptr<FarSide> far;
  /// With --ssh-data, and the far side's programs in namespaces without any network: what they have is sshd.
  bool data = false;

  struct Options {
    std::string far_failpoint;
    std::unique_ptr<TestQemu> source;  ///< null: a new one
    bool data = false;
    BitRate rate;
    QemuOptions vm = quiet_vm();
  };
  static Result<SshScene> make(Options options);
  static Result<SshScene> make(const std::string& far_failpoint = "", std::unique_ptr<TestQemu> source = nullptr);

  Status send(const GodwitOptions& extra = {}, std::vector<std::string> client = {}, std::string port = "");
  pid_t sender() { return scene->sender().process().pid(); }
  /// As a terminal does it, which sends it to all that it runs in the foreground.
  void press_ctrl_c();
  /// The connection of ssh, not those of the move.
  Status cut();
  /// Nothing more runs for it at either side, and neither key nor socket is left.
  Status expect_no_session();
};

/// Where the guest is after whatever has happened: in one place, and it works there. Counts those that have moved.
Status expect_one_guest(SshScene& ssh, int& moved);

/// Of a test's parameter that is a milestone.
std::string moment_name(const ::testing::TestParamInfo<const char*>& tested);

}  // namespace godwit::testing
