#include "tests/integration/far_side.h"

#include <csignal>
#include <fstream>

namespace godwit::testing {

namespace {

Status write_script(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path) << "#!/bin/sh\n" << text;
  std::error_code error;
  std::filesystem::permissions(path, std::filesystem::perms::owner_all, error);
  return error ? fail(ErrorKind::kIo, path.string() + ": " + error.message()) : Status{};
}

/// The letter of /proc/PID/stat; '-' where there is none.
char state_of(pid_t pid) {
  const std::string stat = read_text("/proc/" + std::to_string(pid) + "/stat");
  const auto close = stat.rfind(')');
  return close == std::string::npos || close + 2 >= stat.size() ? '-' : stat[close + 2];
}

}  // namespace

Result<std::unique_ptr<FarSide>> FarSide::make(const TestQemu& sink, const std::string& failpoint) {
  const char* binary = std::getenv("GODWIT_BINARY");
  if (binary == nullptr) return fail(ErrorKind::kNotFound, "GODWIT_BINARY does not name the program under test");
  auto far = std::unique_ptr<FarSide>(new FarSide);
  far->folder_ = TRY(TempFolder::make("/tmp"));
  TRY(write_script(far->program(), "export GODWIT_FAILPOINT='" + failpoint + "' GODWIT_STATE_DIR='" +
                                       (sink.folder() / "state").string() + "' " + kMark + "=" + test_mark() +
                                       "\nif [ \"$1\" = receive ]; then\necho $$ > '" + far->folder().string() +
                                       "/pid.new'\nmv '" + far->folder().string() + "/pid.new' '" +
                                       far->folder().string() + "/pid'\nfi\nexec '" + binary + "' \"$@\"\n"));
  // The near side's environment is not the far side's.
  TRY(write_script(far->shell(), "for last; do :; done\nunset SSH_CONNECTION\nexec sh -c \"exec $last\"\n"));
  return far;
}

pid_t FarSide::pid() const {
  return static_cast<pid_t>(std::strtol(read_text(folder_.path() / "pid").c_str(), nullptr, 10));
}

bool FarSide::alive() const {
  const pid_t there = pid();
  const char state = there == 0 ? '-' : state_of(there);
  return state != '-' && state != 'Z';
}

Status FarSide::wait_until_stopped() const {
  const auto stopped = [this] { return pid() != 0 && state_of(pid()) == 'T'; };
  if (wait_until(stopped, seconds(60))) return {};
  return fail(ErrorKind::kTimedOut, alive() ? "the far side does not stop" : "the far side does not run");
}

Status FarSide::signal(int number) const {
  if (pid() == 0 || ::kill(pid(), number) != 0) return fail(ErrorKind::kNotFound, "the far side does not run");
  return {};
}

Status FarSide::wait_for_end() const {
  if (wait_until([this] { return !alive(); }, seconds(60))) return {};
  return fail(ErrorKind::kTimedOut, "the far side goes on");
}

Status send_by_script(Scene& scene, const FarSide& far, const GodwitOptions& extra, std::string path) {
  GodwitOptions options = extra;
  options.arguments.insert(options.arguments.end(), {"--rsh", far.shell().string(), "--remote-godwit",
                                                     far.program().string(), "--via", "127.0.0.1"});
  if (path.empty()) path = scene.sink().qmp_path().string();
  return scene.send_to("ssh://root@destination" + path, options);
}

Status send_data_by_script(Scene& scene, const FarSide& far, const GodwitOptions& extra) {
  GodwitOptions options = extra;
  options.arguments.insert(options.arguments.end(),
                           {"--rsh", far.shell().string(), "--remote-godwit", far.program().string(), "--ssh-data"});
  return scene.send_to("ssh://root@destination" + scene.sink().qmp_path().string(), options);
}

}  // namespace godwit::testing
