// The Godwit that `send --to ssh://...` starts: the program by another name, with an environment of its own, which
// tells its process. It bears the tests' mark, so that one that stays behind is found.
#pragma once

#include <memory>
#include <string>

#include "tests/integration/scene.h"

namespace godwit::testing {

class FarSide {
 public:
  /// For that QEMU. `failpoint`: its GODWIT_FAILPOINT.
  static Result<std::unique_ptr<FarSide>> make(const TestQemu& sink, const std::string& failpoint = "");

  /// What --remote-godwit is given.
  std::filesystem::path program() const { return folder_.path() / "godwit-there"; }
  /// A remote shell that runs its last word here.
  std::filesystem::path shell() const { return folder_.path() / "rsh"; }
  std::filesystem::path folder() const { return folder_.path(); }
  /// Of the process, once it has been started; else 0.
  pid_t pid() const;
  bool alive() const;
  /// It has stopped itself at its failpoint.
  Status wait_until_stopped() const;
  Status signal(int number) const;
  /// It has ended by itself.
  Status wait_for_end() const;

 private:
  FarSide() = default;
  TempFolder folder_;
};

/// `send` by the remote shell that is a script.
Status send_by_script(Scene& scene, const FarSide& far, const GodwitOptions& extra = {}, std::string path = "");

/// The same with --ssh-data.
Status send_data_by_script(Scene& scene, const FarSide& far, const GodwitOptions& extra = {});

}  // namespace godwit::testing
