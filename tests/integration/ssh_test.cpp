// `godwit send --to ssh://...` by ssh and an sshd, between two network namespaces: the connection of ssh is cut before
// and after the commit, the terminal's Ctrl-C comes at any moment, and logging in fails. Afterwards the guest runs in
// one place, and no process, file or key is left behind at either side.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <poll.h>
#include <pty.h>
#include <sched.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <random>

#include "tests/integration/ssh_scene.h"

namespace godwit::testing {
namespace {

TEST(Ssh, StartsTheFarSideAtTheAddressThatItHasComeBy) {
  ASSIGN_OR_SKIP(ssh, SshScene::make());
  ASSERT_OK(ssh.send());
  ASSERT_OK(ssh.scene->expect_moved());
  ASSERT_OK(ssh.expect_no_session());
  ASSIGN_OR_FAIL(report, ssh.scene->sender().report());
  EXPECT_EQ(report.at("receiver").value("outcome", ""), "done") << report;
  EXPECT_TRUE(says(report.value("security", ""), "handed-over-by-ssh")) << report;
  EXPECT_TRUE(says(ssh.scene->sender().errors(), NetLab::sink_address() + ": outcome     done"))
      << ssh.scene->sender().errors();
}

TEST(Ssh, GoesViaAnotherAddress) {
  ASSIGN_OR_SKIP(ssh, SshScene::make());
  GodwitOptions options;
  options.arguments = {"--via", NetLab::sink_address() + ":4711"};
  ASSERT_OK(ssh.send(options));
  ASSERT_OK(ssh.scene->expect_moved());
  ASSERT_OK(ssh.expect_no_session());
}

class SshRefused : public ::testing::Test {
 protected:
  void expect(const std::vector<std::string>& words, std::function<Status(SshScene&)> send) {
    ASSIGN_OR_SKIP(ssh, SshScene::make());
    ASSERT_OK(send(ssh));
    // One that had run into a time limit would say other words.
    ASSERT_OK(ssh.scene->expect_source_runs(words));
    ASSERT_OK(ssh.expect_no_session());
    std::cout << ssh.scene->sender().errors();
  }
};

TEST_F(SshRefused, WhereNobodyListens) {
  expect({"ssh to 192.0.2.2 failed: ", "connection refused"}, [](SshScene& ssh) { return ssh.send({}, {}, "2223"); });
}

TEST_F(SshRefused, WhereTheKeyIsNotAccepted) {
  expect({"ssh to 192.0.2.2 failed: ", "permission denied (publickey"}, [](SshScene& ssh) {
    return ssh.send({}, {"ssh", "-F", "none", "-i", "/no/key", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o",
                         "UserKnownHostsFile=" + ssh.server->known_hosts().string()});
  });
}

TEST_F(SshRefused, WhereTheHostIsAnother) {
  expect({"ssh to 192.0.2.2 failed: ", "host key verification failed"}, [](SshScene& ssh) {
    std::ofstream(ssh.server->known_hosts())
        << "[192.0.2.2]:2222 " << read_text(ssh.server->user_key().string() + ".pub");
    return ssh.send();
  });
}

TEST_F(SshRefused, WherePasswordsAreAskedForAndNobodyIsThere) {
  // Without a terminal, and without batch mode.
  expect({"to 192.0.2.2 failed: ", "permission denied"}, [](SshScene& ssh) {
    return ssh.send({}, {"setsid", "-w", "ssh", "-F", "none", "-i", "/no/key", "-o", "IdentitiesOnly=yes", "-o",
                         "UserKnownHostsFile=" + ssh.server->known_hosts().string()});
  });
}

TEST_F(SshRefused, WhereNoGodwitIs) {
  expect({"was not found on 192.0.2.2", "--remote-godwit"}, [](SshScene& ssh) {
    std::filesystem::remove(ssh.far->program());
    return ssh.send();
  });
}

TEST_F(SshRefused, WhereQemuIsNotThere) {
  expect({"192.0.2.2: ", "no such file"}, [](SshScene& ssh) {
    GodwitOptions options;
    options.arguments = {"--rsh", fmt::format("{}", fmt::join(ssh.server->client(), " ")), "--remote-godwit",
                         ssh.far->program().string()};
    return ssh.scene->send_to("ssh://root@192.0.2.2:2222/no/such.qmp", options);
  });
}

// Ctrl-C while the near side is at a milestone.
class SshCtrlC : public ::testing::TestWithParam<const char*> {};

TEST_P(SshCtrlC, EndsBothSides) {
  ASSIGN_OR_SKIP(ssh, SshScene::make());
  ASSERT_OK(ssh.send(failing_at(GetParam(), "stop")));
  ASSERT_OK(ssh.scene->sender().process().wait_until_stopped(seconds(60)));
  ssh.press_ctrl_c();
  ::kill(ssh.sender(), SIGCONT);
  ASSERT_OK(ssh.scene->expect_source_runs({"cancelled by the operator"}));
  ASSERT_OK(ssh.expect_no_session());
  // ssh was there to the end.
  ASSIGN_OR_FAIL(report, ssh.scene->sender().report());
  EXPECT_TRUE(report.at("receiver").is_object()) << ssh.scene->sender().errors();
}

INSTANTIATE_TEST_SUITE_P(At, SshCtrlC, ::testing::Values("attached", "copying", "stopped"), moment_name);

TEST(SshCtrlCEarly, EndsWhatWaitsForAPassword) {
  ASSIGN_OR_SKIP(ssh, SshScene::make());
  // An ssh that does not come to its end.
  std::ofstream(ssh.far->shell()) << "#!/bin/sh\nexec sleep 1000\n";
  ASSERT_OK(ssh.send({}, {ssh.far->shell().string()}));
  nap(milliseconds(500));
  ::kill(ssh.sender(), SIGINT);
  ASSERT_OK(ssh.scene->expect_source_runs({"cancelled by the operator"}));
}

// The connection of ssh breaks while the near side is at a milestone; the far side cancels, and the guest stays.
class SshCutBefore : public ::testing::TestWithParam<const char*> {};

TEST_P(SshCutBefore, LeavesTheGuestHere) {
  std::unique_ptr<TestQemu> source;
  {
    ASSIGN_OR_SKIP(ssh, SshScene::make());
    ASSERT_OK(ssh.send(failing_at(GetParam(), "stop")));
    ASSERT_OK(ssh.scene->sender().process().wait_until_stopped(seconds(60)));
    ASSERT_OK(ssh.cut());
    nap(milliseconds(300));
    ::kill(ssh.sender(), SIGCONT);
    ASSERT_OK(ssh.scene->expect_source_runs({"Not moved", "has not told how it ended"}));
    ASSERT_OK(ssh.expect_no_session());
    std::cout << ssh.scene->sender().errors();
    source = ssh.scene->take_source();
  }
  ASSIGN_OR_FAIL(next, SshScene::make("", std::move(source)));
  ASSERT_OK(next.send());
  ASSERT_OK(next.scene->expect_moved());
}

INSTANTIATE_TEST_SUITE_P(At, SshCutBefore, ::testing::Values("attached", "connected", "copying", "stopped"),
                         moment_name);

// It breaks while the far side is at a milestone at which it has said that it is prepared, or later: the move goes on.
class SshCutAfter : public ::testing::TestWithParam<const char*> {};

TEST_P(SshCutAfter, MovesTheGuestAllTheSame) {
  ASSIGN_OR_SKIP(ssh, SshScene::make(std::string(GetParam()) + ":stop"));
  ASSERT_OK(ssh.send());
  ASSERT_OK(ssh.far->wait_until_stopped());
  ASSERT_OK(ssh.cut());
  ASSERT_OK(ssh.far->signal(SIGHUP));  // as where a login's end ends all that it has started
  ASSERT_OK(ssh.far->signal(SIGTERM));
  ASSERT_OK(ssh.far->signal(SIGCONT));
  ASSERT_OK(ssh.scene->expect_moved());
  ASSERT_OK(ssh.expect_no_session());
  ASSIGN_OR_FAIL(report, ssh.scene->sender().report());
  EXPECT_TRUE(report.at("receiver").is_null());
  EXPECT_TRUE(says(ssh.scene->sender().errors(), "has not told how it ended")) << ssh.scene->sender().errors();
  // Its host tells.
  ASSIGN_OR_FAIL(probe, start_probe(ssh.scene->sink()));
  ASSERT_OK(probe->wait(seconds(60)));
  EXPECT_TRUE(says(probe->output(), "moves by ssh")) << probe->output();
  EXPECT_TRUE(says(probe->output(), "move " + report.value("id", "?"))) << probe->output();
  EXPECT_TRUE(says(probe->output(), "utc: done (")) << probe->output();
}

INSTANTIATE_TEST_SUITE_P(At, SshCutAfter, ::testing::Values("prepared", "committed", "resumed"), moment_name);

/// A terminal of its own, in which a program runs in the foreground.
class Terminal {
 public:
  static Result<std::unique_ptr<Terminal>> start(std::vector<std::string> words, const std::string& state,
                                                 int network_namespace) {
    auto terminal = std::unique_ptr<Terminal>(new Terminal);
    std::vector<char*> pointers;
    for (auto& word : words) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    ::setenv("GODWIT_STATE_DIR", state.c_str(), 1);
    ::setenv(kMark, test_mark().c_str(), 1);
    int descriptor = -1;
    terminal->pid_ = ::forkpty(&descriptor, nullptr, nullptr, nullptr);
    if (terminal->pid_ == 0) {
      if (::setns(network_namespace, CLONE_NEWNET) != 0) ::_exit(126);
      ::execvp(pointers[0], pointers.data());
      ::_exit(127);
    }
    ::unsetenv("GODWIT_STATE_DIR");
    ::unsetenv(kMark);
    if (terminal->pid_ < 0) return fail_os("forkpty");
    terminal->descriptor_.reset(descriptor);
    return terminal;
  }
  ~Terminal() {
    descriptor_.reset();
    if (!code_) ::kill(pid_, SIGKILL), ::waitpid(pid_, nullptr, 0);
  }
  Status type(const std::string& text) {
    return ::write(descriptor_.get(), text.data(), text.size()) > 0 ? Status{} : fail_os("write to the terminal");
  }
  /// Waits until it has been said.
  Status expect(const std::string& words) {
    if (wait_until([&] { return read_more(), says(said_, words); }, seconds(30))) return {};
    return fail(ErrorKind::kTimedOut, fmt::format("'{}' is not said in: {}", words, said_));
  }
  Result<int> wait() {
    const auto ended = [&] {
      read_more();
      int status = 0;
      if (!code_ && ::waitpid(pid_, &status, WNOHANG) == pid_) code_ = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
      return code_.has_value();
    };
    if (!wait_until(ended, seconds(60))) return fail(ErrorKind::kTimedOut, "it goes on: " + said_);
    return *code_;
  }
  const std::string& said() const { return said_; }
  bool echoes() const {
    termios now{};
    return ::tcgetattr(descriptor_.get(), &now) == 0 && (now.c_lflag & ECHO) != 0;
  }

 private:
  Terminal() = default;
  void read_more() {
    pollfd look{descriptor_.get(), POLLIN, 0};
    char bytes[4096];
    while (::poll(&look, 1, 0) > 0) {
      const ssize_t got = ::read(descriptor_.get(), bytes, sizeof bytes);
      if (got <= 0) return;
      said_.append(bytes, static_cast<std::size_t>(got));
    }
  }
  pid_t pid_ = -1;
  UniqueFd descriptor_;
  std::string said_;
  std::optional<int> code_;
};

class SshOnATerminal : public ::testing::Test {
 protected:
  /// With a key for which ssh asks for a passphrase.
  void start(const std::vector<std::string>& more = {}) {
    ASSIGN_OR_SKIP(made, SshScene::make());
    ssh_.emplace(std::move(made));
    const std::string key = ssh_->server->user_key().string();
    ASSERT_OK(run_program({"ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", key}));
    std::vector<std::string> words = {
        std::getenv("GODWIT_BINARY"),
        "send",
        "--qmp",
        ssh_->scene->source().qmp_path().string(),
        "--to",
        "ssh://root@192.0.2.2:2222" + ssh_->scene->sink().qmp_path().string(),
        "--remote-godwit",
        ssh_->far->program().string(),
        "--rsh",
        fmt::format("ssh -F none -i {} -o IdentitiesOnly=yes -o PasswordAuthentication=no -o "
                    "KbdInteractiveAuthentication=no -o UserKnownHostsFile={}",
                    key, ssh_->server->known_hosts().string())};
    words.insert(words.end(), more.begin(), more.end());
    ASSIGN_OR_FAIL(terminal,
                   Terminal::start(words, (ssh_->scene->source().folder() / "state").string(), ssh_->lab->source()));
    terminal_ = std::move(terminal);
  }
  Status expect_running(TestQemu& qemu) {
    const std::string status = TRY(qemu.status());
    if (status != "running") return fail(ErrorKind::kProtocol, "the guest is " + status + ": " + terminal_->said());
    TRY(ssh_->expect_no_session());
    return expect_guest_works(qemu);
  }
  std::optional<SshScene> ssh_;
  std::unique_ptr<Terminal> terminal_;
};

TEST_F(SshOnATerminal, IsAskedForAPassphrase) {
  ASSERT_NO_FATAL_FAILURE(start());
  if (!terminal_) return;
  ASSERT_OK(terminal_->expect("Enter passphrase for key"));
  ASSERT_OK(terminal_->type("secret\n"));
  ASSIGN_OR_FAIL(code, terminal_->wait());
  EXPECT_EQ(code, 0) << terminal_->said();
  EXPECT_FALSE(says(terminal_->said(), "secret"));
  ASSERT_OK(expect_running(ssh_->scene->sink()));
}

TEST_F(SshOnATerminal, IsLeftInOrderByCtrlCWhereAPassphraseIsAskedFor) {
  ASSERT_NO_FATAL_FAILURE(start());
  if (!terminal_) return;
  ASSERT_OK(terminal_->expect("Enter passphrase for key"));
  EXPECT_FALSE(terminal_->echoes());
  ASSERT_OK(terminal_->type("\x03"));
  ASSIGN_OR_FAIL(code, terminal_->wait());
  EXPECT_EQ(code, 1) << terminal_->said();
  EXPECT_TRUE(says(terminal_->said(), "cancelled by the operator")) << terminal_->said();
  EXPECT_TRUE(terminal_->echoes());
  ASSERT_OK(expect_running(ssh_->scene->source()));
}

TEST_F(SshOnATerminal, IsLeftInOrderByCtrlCInTheMove) {
  ASSERT_NO_FATAL_FAILURE(start({"--bandwidth", "1Mbit", "--codec", "raw"}));
  if (!terminal_) return;
  ASSERT_OK(terminal_->expect("Enter passphrase for key"));
  ASSERT_OK(terminal_->type("secret\n"));
  ASSERT_OK(terminal_->expect("copying"));
  ASSERT_OK(terminal_->type("\x03"));
  ASSIGN_OR_FAIL(code, terminal_->wait());
  EXPECT_EQ(code, 1) << terminal_->said();
  EXPECT_TRUE(says(terminal_->said(), "192.0.2.2: Not received")) << terminal_->said();
  ASSERT_OK(expect_running(ssh_->scene->source()));
}

// ssh breaks at every milestone of either side: wherever the guest is then, it is in one place, and the exit code says
// where.
class SshCutLong : public ::testing::TestWithParam<const char*> {};

TEST_P(SshCutLong, LeavesOneGuest) {
  const std::string side_and_milestone = GetParam();
  const bool near = side_and_milestone.starts_with("near-");
  const std::string milestone = side_and_milestone.substr(side_and_milestone.find('-') + 1);
  ASSIGN_OR_SKIP(ssh, SshScene::make(near ? "" : milestone + ":stop"));
  ASSERT_OK(ssh.send(near ? failing_at(milestone, "stop") : GodwitOptions{}));
  ASSERT_OK(near ? ssh.scene->sender().process().wait_until_stopped(seconds(60)) : ssh.far->wait_until_stopped());
  ssh.server->cut();
  nap(milliseconds(200));
  if (near) {
    ::kill(ssh.sender(), SIGCONT);
  } else {
    ASSERT_OK(ssh.far->signal(SIGCONT));
  }
  int moved = 0;
  ASSERT_OK(expect_one_guest(ssh, moved));
  std::cout << side_and_milestone << ": " << (moved != 0 ? "moved" : "stayed") << "\n";
}

INSTANTIATE_TEST_SUITE_P(At, SshCutLong,
                         ::testing::Values("near-attached", "near-connected", "near-welcomed", "near-tracking",
                                           "near-mapped", "near-copying", "near-handing-over", "near-stopped",
                                           "near-fenced", "near-devices-sent", "near-prepared", "near-committed",
                                           "near-done", "far-listening", "far-greeted", "far-welcomed", "far-mapped",
                                           "far-last-fence", "far-loaded", "far-prepared", "far-committed",
                                           "far-resumed"),
                         moment_name);

// A link that says nothing any more: neither end of ssh is told.
TEST(SshLong, LeavesNothingBehindWhereTheLinkIsCut) {
  ASSIGN_OR_SKIP(ssh, SshScene::make());
  ASSERT_OK(ssh.send(failing_at("copying", "stop")));
  ASSERT_OK(ssh.scene->sender().process().wait_until_stopped(seconds(60)));
  ASSERT_OK(ssh.lab->cut());
  ::kill(ssh.sender(), SIGCONT);
  ASSERT_OK(ssh.scene->expect_source_runs({"Not moved", "has not told how it ended"}));
  if (!wait_until([&] { return !ssh.far->alive(); }, seconds(120))) FAIL() << "the far side waits on";
}

/// The phase that progress shows last, of `send --progress json`; "before" where there is none yet.
std::string phase_now(SshScene& ssh) {
  const std::string lines = ssh.scene->sender().process().output();
  const std::string key = "\"phase\":\"";
  const auto last = lines.rfind(key);
  if (last == std::string::npos) return "before";
  const auto begin = last + key.size();
  return lines.substr(begin, lines.find('"', begin) - begin);
}

// One guest, moved to and fro, and disturbed at random moments of a move that takes seconds.
class SshRandomLong : public ::testing::TestWithParam<bool> {
 protected:
  static constexpr int kMoves = 20, kCtrlC = 10, kCuts = 10;

  void one_move(int i);
  void disturb(SshScene& ssh, bool ctrl_c);

  std::mt19937 random_{std::random_device{}()};
  std::unique_ptr<TestQemu> source_;
  std::vector<milliseconds> calm_;
  std::map<std::string, int> hit_;
  int undisturbed_ = 0, cancelled_ = 0, cut_ = 0;
};

/// At a moment of what a calm move has taken.
void SshRandomLong::disturb(SshScene& ssh, bool ctrl_c) {
  auto sorted = calm_;
  std::sort(sorted.begin(), sorted.end());
  const double part = std::uniform_real_distribution<>(0.1, 1.0)(random_);
  nap(std::chrono::duration_cast<milliseconds>(sorted.at(sorted.size() / 2) * part));
  const bool ended = !ssh.scene->sender().process().alive();
  ++hit_[fmt::format("{} {}", ctrl_c ? "Ctrl-C" : "cut", ended ? "after the end" : phase_now(ssh))];
  if (ctrl_c) return ssh.press_ctrl_c();
  // A cut that comes before ssh is there, or after it, cuts nothing.
  ssh.server->cut();
}

void SshRandomLong::one_move(int i) {
  SshScene::Options options{.source = std::move(source_), .data = GetParam()};
  options.vm.guest_line = "work=256K cold=64M:12M stride=64 rate=4000";
  ASSIGN_OR_SKIP(ssh, SshScene::make(std::move(options)));
  const auto begin = std::chrono::steady_clock::now();
  GodwitOptions slowly;
  slowly.arguments = {"--bandwidth", "40Mbit", "--codec", "raw", "--max-downtime", "1s", "--progress", "json"};
  ASSERT_OK(ssh.send(slowly));
  if (i < kMoves) {
    ASSERT_OK(ssh.scene->sender().wait(seconds(60)));
    calm_.push_back(std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - begin));
    ASSERT_OK(ssh.scene->expect_moved());
    ASSERT_OK(expect_one_guest(ssh, undisturbed_));
    ASSIGN_OR_FAIL(report, ssh.scene->sender().report());
    EXPECT_TRUE(report.at("receiver").is_object()) << ssh.scene->sender().errors();
  } else {
    const bool ctrl_c = i < kMoves + kCtrlC;
    disturb(ssh, ctrl_c);
    ASSERT_OK(expect_one_guest(ssh, ctrl_c ? cancelled_ : cut_));
  }
  const bool there = ssh.scene->sink().alive() && ssh.scene->sink().status().value_or("") == "running";
  source_ = there ? ssh.scene->take_sink() : ssh.scene->take_source();
}

TEST_P(SshRandomLong, LeavesOneGuest) {
  for (int i = 0; i < kMoves + kCtrlC + kCuts && !IsSkipped() && !HasFatalFailure(); ++i) {
    SCOPED_TRACE(i);
    one_move(i);
  }
  if (IsSkipped()) return;
  EXPECT_EQ(undisturbed_, kMoves);
  std::sort(calm_.begin(), calm_.end());
  std::cout << fmt::format("moved: {} of {}; {} of {} with Ctrl-C, {} of {} with a cut; a calm move took {} to {} ms\n",
                           undisturbed_, kMoves, cancelled_, kCtrlC, cut_, kCuts, calm_.front().count(),
                           calm_.back().count());
  for (const auto& [phase, times] : hit_) std::cout << fmt::format("{}: {}\n", phase, times);
}

INSTANTIATE_TEST_SUITE_P(By, SshRandomLong, ::testing::Values(false, true),
                         [](const auto& tested) { return tested.param ? "SshData" : "ItsOwnConnections"; });

}  // namespace
}  // namespace godwit::testing
