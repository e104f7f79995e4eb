// The program under test, run as its users run it.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/godwit_child.h"
#include "tests/support/godwit_temp_folder.h"
#include "tests/support/qemu_vm.h"

namespace godwit::testing {

struct GodwitOptions {
  std::vector<std::string> before;  ///< what becomes godwit: a program and its arguments
  std::vector<std::string> arguments;
  std::map<std::string, std::string> environment;  ///< GODWIT_FAILPOINT and the like
  std::optional<uid_t> user;
  int network_namespace = -1;
  std::filesystem::path hosts;   ///< in the place of /etc/hosts; needs root
  std::filesystem::path output;  ///< stdout goes there instead; output() must not be asked then
};

/// Marks every process that a test's Godwit is or starts, for processes_marked().
inline constexpr const char* kMark = "GODWIT_TEST_MARK";
std::string test_mark();

class TestGodwit {
 public:
  /// Starts the program (GODWIT_BINARY names it).
  static Result<std::unique_ptr<TestGodwit>> start(const GodwitOptions& options);

  ChildProcess& process() noexcept { return *child_; }
  Result<Ended> wait(milliseconds limit) { return child_->wait(limit); }
  std::string output() const { return child_->output(); }
  std::string errors() const { return child_->errors(); }
  /// Where `godwit receive` listens, from its first line: "tcp://127.0.0.1:4711".
  Result<std::string> listening_at(milliseconds limit = seconds(20));
  /// The file that --report names, as JSON; an error if it is not there or none.
  Result<Json> report() const;
  std::filesystem::path report_path() const { return folder_.path() / "report.json"; }

 private:
  TestGodwit() = default;
  TempFolder folder_;
  std::unique_ptr<ChildProcess> child_;
};

/// `godwit receive` for this QEMU on a port of 127.0.0.1 (or `address`).
Result<std::unique_ptr<TestGodwit>> start_receive(const TestQemu& qemu, const GodwitOptions& extra = {},
                                                  const std::string& address = "tcp://127.0.0.1:0");
/// `godwit send` from this QEMU to `address`, with a report.
Result<std::unique_ptr<TestGodwit>> start_send(const TestQemu& qemu, const std::string& address,
                                               const GodwitOptions& extra = {});
/// `godwit probe` at this QEMU: looks, and cleans up what an engine that died left.
Result<std::unique_ptr<TestGodwit>> start_probe(const TestQemu& qemu, const GodwitOptions& extra = {});
/// `godwit forecast` at this QEMU.
Result<std::unique_ptr<TestGodwit>> start_forecast(const TestQemu& qemu, const GodwitOptions& extra);

}  // namespace godwit::testing
