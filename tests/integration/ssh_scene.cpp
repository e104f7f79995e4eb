#include "tests/integration/ssh_scene.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <csignal>

namespace godwit::testing {

Result<SshScene> SshScene::make(Options options) {
  SshScene made;
  made.data = options.data;
  made.lab = TRY(NetLab::make(options.rate));
  made.server = TRY(SshServer::start(NetLab::sink_address(), made.lab->sink()));
  made.scene = options.source ? TRY(Scene::from(std::move(options.source), options.vm)) : TRY(Scene::make(options.vm));
  made.scene->use(*made.lab);
  made.far = TRY(FarSide::make(made.scene->sink(), options.far_failpoint));
  return made;
}

Result<SshScene> SshScene::make(const std::string& far_failpoint, std::unique_ptr<TestQemu> source) {
  return make(Options{.far_failpoint = far_failpoint, .source = std::move(source)});
}

Status SshScene::send(const GodwitOptions& extra, std::vector<std::string> client, std::string port) {
  if (client.empty()) client = server->client();
  GodwitOptions options = extra;
  options.arguments.insert(options.arguments.end(),
                           {"--rsh", fmt::format("{}", fmt::join(client, " ")), "--remote-godwit",
                            (data ? "unshare -n " : "") + far->program().string()});
  if (data) options.arguments.emplace_back("--ssh-data");
  return scene->send_to(fmt::format("ssh://root@{}:{}{}", NetLab::sink_address(),
                                    port.empty() ? SshServer::port() : port, scene->sink().qmp_path().string()),
                        options);
}

void SshScene::press_ctrl_c() {
  for (const pid_t pid : children_of(sender(), "ssh")) ::kill(pid, SIGINT);
  ::kill(sender(), SIGINT);
}

Status SshScene::cut() {
  if (server->sessions().empty()) return fail(ErrorKind::kNotFound, "no session of ssh to cut");
  server->cut();
  return {};
}

Status SshScene::expect_no_session() {
  if (!wait_until([this] { return server->sessions().empty() && !far->alive(); }, seconds(20))) {
    return fail(ErrorKind::kProtocol, fmt::format("left at the far side: {} sessions, godwit {}",
                                                  server->sessions().size(), far->alive() ? "too" : "not"));
  }
  for (const auto& folder : {far->folder(), scene->sink().folder(), scene->source().folder()}) {
    for (const auto& file : std::filesystem::recursive_directory_iterator(folder)) {
      // Neither side has left what its connections by ssh were made with.
      if (file.path().filename().native().starts_with("ssh-")) {
        return fail(ErrorKind::kProtocol, "left: " + file.path().string());
      }
      // Neither side has written its key anywhere.
      if (!file.is_regular_file() || file.file_size() > kMiB) continue;
      if (says(read_text(file.path()), "handed-over-by-ssh:")) return fail(ErrorKind::kProtocol, file.path());
    }
  }
  return {};
}

/// Where the guest is after whatever has happened: in one place, and it works there.
Status expect_one_guest(SshScene& ssh, int& moved) {
  const Ended sent = TRY_IN("godwit send", ssh.scene->sender().wait(seconds(120)));
  TRY(ssh.expect_no_session());
  Scene& scene = *ssh.scene;
  const bool here = scene.source().alive() && TRY(scene.source().status()) == "running";
  const bool there = scene.sink().alive() && TRY(scene.sink().status()) == "running";
  // With --ssh-data a cut may come between the commit and its answer: then as the operator is told to do.
  if (ssh.data && sent.code == 3 && !here) {
    if (!there && scene.sink().alive()) TRY(scene.sink().go_on());
    if (!there && !scene.sink().alive()) TRY(scene.source().go_on());
    moved += scene.sink().alive() ? 1 : 0;
    TRY(expect_guest_works(scene.sink().alive() ? scene.sink() : scene.source()));
    return scene.expect_nothing_left();
  }
  if (here == there) {
    return fail(ErrorKind::kProtocol, fmt::format("runs {}; exit code {}: {}", here ? "twice" : "nowhere", sent.code,
                                                  scene.sender().errors()));
  }
  if (sent.code != (there ? 0 : 1)) {
    return fail(ErrorKind::kProtocol, fmt::format("exit code {}, but the guest is {}: {}", sent.code,
                                                  there ? "there" : "here", scene.sender().errors()));
  }
  moved += there ? 1 : 0;
  TRY(expect_guest_works(there ? scene.sink() : scene.source()));
  return scene.expect_nothing_left();
}

std::string moment_name(const ::testing::TestParamInfo<const char*>& tested) {
  std::string text = tested.param;
  std::replace(text.begin(), text.end(), '-', '_');
  return text;
}

}  // namespace godwit::testing
