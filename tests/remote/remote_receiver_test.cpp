// The near side against remote shells that do all that they should not: each is a shell script here.
#include "remote/remote_receiver.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <future>

namespace godwit::remote_receiver_test {
namespace {

using namespace std::chrono_literals;

constexpr const char* kHello = R"(echo '{"type":"hello","program":"godwit 9","version":1}'; )";
constexpr const char* kListening = R"(echo '{"type":"listening","address":"tcp://127.0.0.1:4711"}'; )";
constexpr const char* kReport = R"(echo '{"type":"report","exit_code":0,"report":{"a":1},"text":"t","error":""}'; )";

Duration cpu_time_of_this_process() {
  timespec used{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return std::chrono::seconds(used.tv_sec) + std::chrono::nanoseconds(used.tv_nsec);
}

class RemoteReceiverTest : public ::testing::Test {
 protected:
  RemoteReceiverTest() { std::signal(SIGPIPE, SIG_IGN); }

  std::unique_ptr<RemoteReceiver> start(const std::string& script) {
    auto receiver = RemoteReceiver::start({.command = {"sh", "-c", script},
                                           .host = "host-b",
                                           .program = "godwit 9",
                                           .remote_godwit = "godwit",
                                           .on_line = [this](std::string_view line) { lines_.emplace_back(line); },
                                           .limits = {.hello = 2s, .listening = 2s, .sign_of_life = 50ms}});
    EXPECT_TRUE(receiver.has_value());
    return std::move(*receiver);
  }
  /// What is said where the far side does not come to listen.
  std::string failure(const std::string& script) {
    const auto receiver = start(script);
    const auto at = receiver->listening_at("ssh:00", {});
    EXPECT_FALSE(at.has_value()) << script;
    return at ? "" : at.error().message;
  }
  std::vector<std::string> lines_;  // read when the receiver is gone
};

TEST_F(RemoteReceiverTest, HandsOverTheKeyAndLearnsTheAddress) {
  const auto receiver = start(std::string("echo Welcome; ") + kHello + "read -r key; echo \"$key\" >&2; " + kListening +
                              "cat >/dev/null; " + kReport + "exit 0");
  const auto at = receiver->listening_at("ssh:0011", {});
  ASSERT_TRUE(at.has_value()) << at.error().message;
  EXPECT_EQ(format_address(*at), "tcp://127.0.0.1:4711");
  const RemoteEnd end = receiver->finish(5s);
  ASSERT_TRUE(end.shell && end.report);
  EXPECT_EQ(end.shell->code, 0);
  EXPECT_EQ(end.report->json, R"({"a":1})");
  EXPECT_EQ(lines_, std::vector<std::string>{"ssh:0011"});
}

TEST_F(RemoteReceiverTest, GivesTheKeyToNobodyButAGodwit) {
  // It would say whatever it is given.
  EXPECT_NE(failure("head -c 4 >&2").find("host-b"), std::string::npos);
  EXPECT_EQ(lines_, std::vector<std::string>{});
}

TEST_F(RemoteReceiverTest, GivesSignsOfLife) {
  const auto receiver =
      start(std::string(kHello) + "read -r key; " + kListening + "read -r a; read -r b; " + kReport + "exit 0");
  ASSERT_TRUE(receiver->listening_at("ssh:0011", {}).has_value());
  std::this_thread::sleep_for(500ms);
  const RemoteEnd end = receiver->finish(5s);
  EXPECT_TRUE(end.report.has_value());
}

/// As where a terminal has been stopped by Ctrl-S: without signs of life the far side would cancel a sound move.
TEST_F(RemoteReceiverTest, GivesSignsOfLifeWhileNobodyTakesItsLines) {
  std::promise<void> go_on;
  const auto may_go_on = go_on.get_future().share();
  auto receiver = RemoteReceiver::start(
      {.command = {"sh", "-c",
                   std::string(kHello) + "read -r key; " + kListening +
                       "echo a line >&2; read -r a && read -r b && read -r c && " + kReport + "exit 0"},
       .host = "host-b",
       .on_line = [may_go_on](std::string_view) { may_go_on.wait(); },
       .limits = {.hello = 20s, .listening = 20s, .sign_of_life = 50ms}});
  ASSERT_TRUE(receiver.has_value());
  ASSERT_TRUE((*receiver)->listening_at("ssh:0011", {}).has_value());
  const auto end = std::chrono::steady_clock::now() + 20s;
  while (!(*receiver)->has_ended() && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(5ms);
  EXPECT_TRUE((*receiver)->finish(0s).report.has_value()) << "it has heard nothing";
  go_on.set_value();
}

TEST_F(RemoteReceiverTest, SaysWhyNothingCame) {
  const auto expect = [&](const std::string& script, const std::string& words) {
    const std::string text = failure(script);
    EXPECT_NE(text.find(words), std::string::npos) << text;
    EXPECT_NE(text.find("host-b"), std::string::npos) << text;
    EXPECT_EQ(text.find('\n'), std::string::npos) << text;
  };
  expect("echo 'Permission denied (publickey).' >&2; exit 255", "failed: Permission denied (publickey)");
  expect("exit 255", "it said nothing");
  expect("no-such-program-anywhere", "was not found on host-b: install godwit there");
  expect("exit 126", "cannot be executed");
  expect("echo \"godwit receive: unknown option '--over-ssh'\" >&2; exit 2", "does not know `receive --over-ssh`");
  expect("kill -9 $$", "signal 9");
  expect("echo This account is not available; exit 1", "This account is not available");
  expect("echo Hi", "without starting `godwit receive`: Hi");
  expect("sleep 60", "has not started `godwit receive` within 2 s");
  expect("yes", "has not started `godwit receive` within 2 s");
  expect("head -c 10000000 /dev/zero; sleep 60", "has not started `godwit receive` within 2 s");
  expect("exec >&- 2>&-; sleep 1; exit 255", "failed: it said nothing");
  expect(R"(echo '{"type":"hello","program":"godwit 10","version":2}'; sleep 60)", "install the same version on both");
  expect(std::string(kHello) + "sleep 60", "does not say where it listens");
  expect(std::string(kHello) + "echo Connection reset >&2; exit 255", "has broken: Connection reset");
  expect(std::string(kHello) + "exit 1", "has ended: it said nothing");
  expect(std::string(kHello) + R"(echo '{"type":"report","exit_code":1,"error":"no such socket"}'; exit 1)",
         "host-b: no such socket");
  // What a shell's greeting holds is not from a Godwit.
  expect(std::string(kListening) + "exit 1", "without starting");
}

TEST_F(RemoteReceiverTest, SaysThatTheRemoteShellIsMissing) {
  const auto receiver = RemoteReceiver::start({.command = {"/no/such/ssh"}, .host = "host-b"});
  ASSERT_FALSE(receiver.has_value());
  EXPECT_NE(receiver.error().message.find("/no/such/ssh"), std::string::npos);
}

TEST_F(RemoteReceiverTest, IsCancelled) {
  for (const std::string& script : {std::string("sleep 60"), std::string(kHello) + "sleep 60"}) {
    const auto receiver = start(script);
    std::stop_source stop;
    const std::jthread later([&] {
      std::this_thread::sleep_for(200ms);
      stop.request_stop();
    });
    const auto at = receiver->listening_at("ssh:00", stop.get_token());
    ASSERT_FALSE(at.has_value());
    EXPECT_EQ(at.error().kind, ErrorKind::kCancelled);
  }
}

TEST_F(RemoteReceiverTest, LeavesNoChildBehindWhateverItDoes) {
  for (const char* script : {"sleep 60", "trap '' TERM; sleep 60 & wait", "exit 0"}) {
    { const auto receiver = start(script); }
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << script;
    EXPECT_EQ(errno, ECHILD) << script;
  }
}

TEST_F(RemoteReceiverTest, StaysAliveWhereTheTerminalTellsTheGroupToEnd) {
  const auto receiver = start(std::string(kHello) + "read -r key; kill -INT $$; kill -HUP $$; " + kListening +
                              "cat >/dev/null; " + kReport + "exit 0");
  ASSERT_TRUE(receiver->listening_at("ssh:00", {}).has_value());
  EXPECT_TRUE(receiver->finish(5s).report.has_value());
}

/// The kernel takes the child's end then, and its exit code with it.
TEST_F(RemoteReceiverTest, NoticesTheEndOfAChildWhoseEndIsTaken) {
  const auto before = std::signal(SIGCHLD, SIG_IGN);
  const auto used = cpu_time_of_this_process();
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_NE(failure("echo Permission denied >&2; sleep 1; exit 255").find("Permission denied"), std::string::npos);
  const auto receiver = start(std::string(kHello) + "read -r key; " + kListening + "cat >/dev/null; exit 0");
  EXPECT_TRUE(receiver->listening_at("ssh:00", {}).has_value());
  const RemoteEnd end = receiver->finish(20s);
  EXPECT_TRUE(end.shell && !end.shell->known());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 10s) << "it has waited for what does not come";
  EXPECT_LT(cpu_time_of_this_process() - used, 2s) << "it has burned a CPU";
  std::signal(SIGCHLD, before);
}

TEST_F(RemoteReceiverTest, WorksInAProcessWithoutStandardStreams) {
  const UniqueFd in(::dup(0)), out(::dup(1)), err(::dup(2));
  for (int fd = 0; fd < 3; ++fd) ::close(fd);
  auto receiver = RemoteReceiver::start(
      {.command = {"sh", "-c",
                   std::string(kHello) + "read -r key; " + kListening + "cat >/dev/null; " + kReport + "exit 0"},
       .host = "host-b"});
  const bool listens = receiver && (*receiver)->listening_at("ssh:00", {}).has_value();
  const bool reports = receiver && (*receiver)->finish(5s).report.has_value();
  if (receiver) receiver->reset();
  for (int fd = 0; fd < 3; ++fd)
    ::dup2(std::array{in.get(), out.get(), err.get()}.at(static_cast<std::size_t>(fd)), fd);
  EXPECT_TRUE(listens);
  EXPECT_TRUE(reports);
}

/// As ssh that stays for further connections and keeps the errors' pipe open.
TEST_F(RemoteReceiverTest, DoesNotWaitForOthersThatHoldThePipes) {
  const auto receiver =
      start(std::string(kHello) + "read -r key; " + kListening + "sleep 5 & cat >/dev/null; " + kReport + "exit 0");
  ASSERT_TRUE(receiver->listening_at("ssh:00", {}).has_value());
  const auto begin = std::chrono::steady_clock::now();
  const RemoteEnd end = receiver->finish(5s);
  EXPECT_TRUE(end.report && end.shell);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 3s);
}

}  // namespace
}  // namespace godwit::remote_receiver_test
