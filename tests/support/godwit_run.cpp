#include "tests/support/godwit_run.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>

namespace godwit::testing {

std::string test_mark() {
  return std::to_string(::getpid());
}

Result<std::unique_ptr<TestGodwit>> TestGodwit::start(const GodwitOptions& options) {
  const char* binary = std::getenv("GODWIT_BINARY");
  if (binary == nullptr) return fail(ErrorKind::kNotFound, "GODWIT_BINARY does not name the program under test");
  auto godwit = std::unique_ptr<TestGodwit>(new TestGodwit);
  godwit->folder_ = TRY(TempFolder::make("/tmp"));
  const auto folder = godwit->folder_.path();
  // Another user may have to write the report.
  std::filesystem::permissions(folder, std::filesystem::perms::all);
  ChildOptions child;
  if (!options.hosts.empty()) {
    child.command = {
        "unshare", "-m", "sh", "-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\"", options.hosts.string()};
  }
  child.command.insert(child.command.end(), options.before.begin(), options.before.end());
  child.command.push_back(binary);
  for (const auto& argument : options.arguments) {
    child.command.push_back(argument == "@REPORT" ? (folder / "report.json").string() : argument);
  }
  child.environment = options.environment;
  child.environment[kMark] = test_mark();
  child.output = options.output.empty() ? folder / "stdout" : options.output;
  child.errors = folder / "stderr";
  child.user = options.user;
  child.network_namespace = options.network_namespace;
  godwit->child_ = TRY(ChildProcess::start(child));
  return godwit;
}

Result<std::string> TestGodwit::listening_at(milliseconds limit) {
  const std::string line = TRY(child_->wait_for_error_line("listening on ", limit));
  return line.substr(line.find("listening on ") + 13);
}

Result<Json> TestGodwit::report() const {
  Json report = Json::parse(read_text(report_path()), nullptr, false);
  if (report.is_discarded()) return fail(ErrorKind::kNotFound, "no report; stderr: " + errors());
  return report;
}

namespace {

/// Godwit's journal lies beside the QEMU that it is about: it must not mix with that of the machine, and the next
/// Godwit at the same QEMU must find it.
Result<std::unique_ptr<TestGodwit>> start_at(const TestQemu& qemu, std::vector<std::string> arguments,
                                             const GodwitOptions& extra) {
  GodwitOptions options = extra;
  options.arguments = std::move(arguments);
  options.arguments.insert(options.arguments.end(), extra.arguments.begin(), extra.arguments.end());
  options.environment.emplace("GODWIT_STATE_DIR", (qemu.folder() / "state").string());
  return TestGodwit::start(options);
}

}  // namespace

Result<std::unique_ptr<TestGodwit>> start_receive(const TestQemu& qemu, const GodwitOptions& extra,
                                                  const std::string& address) {
  return start_at(qemu, {"receive", "--qmp", qemu.qmp_path().string(), "--listen", address}, extra);
}

Result<std::unique_ptr<TestGodwit>> start_send(const TestQemu& qemu, const std::string& address,
                                               const GodwitOptions& extra) {
  std::vector<std::string> line = {"send", "--qmp", qemu.qmp_path().string(), "--to", address, "--report", "@REPORT"};
  if (std::ranges::find(extra.arguments, "--progress") == extra.arguments.end()) {
    line.insert(line.end(), {"--progress", "none"});
  }
  // Where a test says nothing of it, a link that breaks is not to be waited for.
  const auto says = [&](std::string_view option) {
    return std::ranges::find(extra.arguments, option) != extra.arguments.end();
  };
  if (address.starts_with("tcp:") && !says("--link-patience") && !says("--resume")) {
    line.insert(line.end(), {"--link-patience", "0s"});
  }
  return start_at(qemu, std::move(line), extra);
}

Result<std::unique_ptr<TestGodwit>> start_probe(const TestQemu& qemu, const GodwitOptions& extra) {
  return start_at(qemu, {"probe", "--qmp", qemu.qmp_path().string()}, extra);
}

Result<std::unique_ptr<TestGodwit>> start_forecast(const TestQemu& qemu, const GodwitOptions& extra) {
  return start_at(qemu, {"forecast", "--qmp", qemu.qmp_path().string()}, extra);
}

}  // namespace godwit::testing
