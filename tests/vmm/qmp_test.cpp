// The QMP client against a monitor that the test plays itself: all that a real QEMU does only on a bad day.
#include "vmm/qemu/qmp.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <atomic>
#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/support/manual_clock.h"

namespace godwit::qemu::qmp_test {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

constexpr const char* kGreeting = "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n";

/// Listens on a temporary socket and serves one client in a thread of its own, as `serve` says.
class FakeMonitor {
 public:
  explicit FakeMonitor(std::function<void(FakeMonitor&)> serve) {
    char folder[] = "/tmp/qmp-test-XXXXXX";
    folder_ = ::mkdtemp(folder);
    listener_ = UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path().c_str(), sizeof address.sun_path - 1);
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(listener_.get(), 0), 0);
    thread_ = std::thread([this, serve = std::move(serve)] {
      client_ = UniqueFd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (client_) serve(*this);
      client_.reset();
    });
  }
  ~FakeMonitor() {
    ::shutdown(listener_.get(), SHUT_RDWR);  // wakes accept
    thread_.join();
    ::unlink(path().c_str());
    ::rmdir(folder_.c_str());
  }

  std::string path() const { return folder_ + "/qmp"; }

  void say(std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = ::send(client_.get(), text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;
      text.remove_prefix(static_cast<std::size_t>(sent));
    }
  }
  /// The next command; a null value when the client is gone. A descriptor that came with it is kept.
  Json hear() {
    while (pending_.find('\n') == std::string::npos) {
      char buffer[4096];
      iovec piece{buffer, sizeof buffer};
      alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
      msghdr message{};
      message.msg_iov = &piece;
      message.msg_iovlen = 1;
      message.msg_control = control;
      message.msg_controllen = sizeof control;
      const ssize_t length = ::recvmsg(client_.get(), &message, MSG_CMSG_CLOEXEC);
      if (length <= 0) return {};
      if (const auto* header = CMSG_FIRSTHDR(&message)) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
        descriptor_ = UniqueFd(fd);
      }
      pending_.append(buffer, static_cast<std::size_t>(length));
    }
    const auto end = pending_.find('\n');
    Json command = Json::parse(pending_.substr(0, end));
    pending_.erase(0, end + 1);
    return command;
  }
  void answer(const Json& command, const Json& value) {
    say(Json{{"return", value}, {"id", command.at("id")}}.dump() + "\r\n");
  }
  void negotiate() {
    say(kGreeting);
    answer(hear(), Json::object());
  }
  const UniqueFd& descriptor() const { return descriptor_; }

 private:
  std::string folder_;
  UniqueFd listener_;
  UniqueFd client_;
  UniqueFd descriptor_;
  std::string pending_;
  std::thread thread_;
};

QmpLimits short_limits() {
  QmpLimits limits;
  limits.greeting = milliseconds(200);
  limits.command = milliseconds(200);
  limits.line = 100000;
  return limits;
}

class QmpTest : public ::testing::Test {
 protected:
  std::unique_ptr<Qmp> connect(const FakeMonitor& monitor, const QmpLimits& limits = {}) {
    auto qmp = connect_qmp(monitor.path(), clock_, limits);
    EXPECT_TRUE(qmp) << qmp.error().message;
    return qmp ? std::move(*qmp) : nullptr;
  }
  godwit::testing::ManualClock clock_;
};

TEST_F(QmpTest, NegotiatesAndRunsCommands) {
  FakeMonitor monitor([](FakeMonitor& m) {
    m.say(kGreeting);
    Json command = m.hear();
    EXPECT_EQ(command.at("execute"), "qmp_capabilities");
    m.answer(command, Json::object());
    command = m.hear();
    EXPECT_EQ(command.at("execute"), "migrate");
    EXPECT_EQ(command.at("arguments").at("uri"), "fd:x");
    m.answer(command, 42);
    command = m.hear();
    EXPECT_EQ(command.at("execute"), "human-monitor-command");
    EXPECT_EQ(command.at("arguments").at("command-line"), "info x");
    m.answer(command, "text\r\n");
    m.hear();
  });
  auto qmp = connect(monitor);
  EXPECT_EQ(qmp->peer_pid(), ::getpid());
  const auto answer = qmp->execute("migrate", Json{{"uri", "fd:x"}});
  ASSERT_TRUE(answer);
  EXPECT_EQ(*answer, 42);
  EXPECT_EQ(qmp->human("info x").value_or(""), "text\r\n");
}

TEST_F(QmpTest, GivesQemusWords) {
  FakeMonitor monitor([](FakeMonitor& m) {
    m.negotiate();
    const char* errors[] = {R"({"class": "GenericError", "desc": "No such thing"})",
                            R"({"class": "CommandNotFound", "desc": "The command is unknown"})", R"({})"};
    for (const char* error : errors) {
      const Json command = m.hear();
      m.say(Json{{"error", Json::parse(error)}, {"id", command.at("id")}}.dump() + "\n");
    }
    m.hear();
  });
  auto qmp = connect(monitor);
  auto answer = qmp->execute("a");
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().kind, ErrorKind::kHypervisor);
  EXPECT_EQ(answer.error().message, "a: No such thing");
  answer = qmp->execute("b");
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().kind, ErrorKind::kUnsupported);
  answer = qmp->execute("c");
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().kind, ErrorKind::kProtocol);
}

TEST_F(QmpTest, TellsEventsWithTheirInstant) {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::pair<std::string, Instant>> events;
  std::string status;
  FakeMonitor monitor([](FakeMonitor& m) {
    m.negotiate();
    const Json command = m.hear();
    m.say(R"({"event": "MIGRATION", "data": {"status": "active"}})"
          "\r\n"
          R"({"event": "STOP"})"
          "\n");
    m.answer(command, Json::object());
    m.hear();
  });
  auto qmp = connect(monitor);
  clock_.advance(std::chrono::seconds(7));
  qmp->on_event([&](const std::string& name, const Json& data, Instant at) {
    const std::lock_guard lock(mutex);
    events.emplace_back(name, at);
    if (name == "MIGRATION") status = data.at("status");
    EXPECT_TRUE(data.is_object());
  });
  EXPECT_TRUE(qmp->execute("go"));
  qmp->on_event({});  // after this nothing is called
  const std::vector<std::pair<std::string, Instant>> wanted = {{"MIGRATION", Instant(std::chrono::seconds(7))},
                                                               {"STOP", Instant(std::chrono::seconds(7))}};
  EXPECT_EQ(events, wanted);  // events that came before an answer have been told before it
  EXPECT_EQ(status, "active");
}

// QEMU writes an event out when its main loop comes round; what counts is when it happened.
TEST_F(QmpTest, TakesTheInstantFromQemusTimestamp) {
  const auto stamp = [](std::chrono::microseconds ago) {
    const auto at =
        std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch()) -
        ago;
    return Json{{"seconds", at.count() / 1000000}, {"microseconds", at.count() % 1000000}};
  };
  FakeMonitor monitor([&](FakeMonitor& m) {
    m.negotiate();
    const Json command = m.hear();
    m.say(Json{{"event", "A"}, {"timestamp", stamp(std::chrono::seconds(2))}}.dump() + "\n");
    m.say(Json{{"event", "B"}, {"timestamp", stamp(std::chrono::hours(1))}}.dump() + "\n");
    m.say(Json{{"event", "C"}, {"timestamp", stamp(std::chrono::hours(-1))}}.dump() + "\n");
    m.say("{\"event\": \"D\", \"timestamp\": {\"seconds\": -1, \"microseconds\": \"x\"}}\n");
    // Not a number of microseconds that 64 bits have; and one that they have only because it wraps around.
    m.say("{\"event\": \"E\", \"timestamp\": {\"seconds\": 9223372036855, \"microseconds\": 0}}\n");
    m.say("{\"event\": \"F\", \"timestamp\": {\"seconds\": 13835058055282, \"microseconds\": 0}}\n");
    Json wrapped = stamp(std::chrono::seconds(2));
    wrapped["seconds"] = wrapped["seconds"].get<std::uint64_t>() + (std::uint64_t{1} << 58);
    m.say(Json{{"event", "G"}, {"timestamp", wrapped}}.dump() + "\n");
    m.answer(command, Json::object());
    m.hear();
  });
  auto qmp = connect(monitor);
  clock_.advance(std::chrono::hours(2));
  std::map<std::string, Instant> events;
  qmp->on_event([&](const std::string& name, const Json&, Instant at) { events[name] = at; });
  ASSERT_TRUE(qmp->execute("go"));
  qmp->on_event({});
  ASSERT_EQ(events.size(), 7u);
  EXPECT_LE(events["A"], Instant(std::chrono::hours(2) - std::chrono::seconds(2)));
  EXPECT_GT(events["A"], Instant(std::chrono::hours(2) - std::chrono::seconds(10)));
  for (const char* senseless : {"B", "C", "D", "E", "F", "G"}) {
    EXPECT_EQ(events[senseless], Instant(std::chrono::hours(2))) << senseless;
  }
}

TEST_F(QmpTest, DropsAnswersThatComeTooLate) {
  FakeMonitor monitor([](FakeMonitor& m) {
    m.negotiate();
    const Json late = m.hear();
    const Json next = m.hear();
    m.answer(late, "late");
    m.answer(next, "in time");
    m.hear();
  });
  auto qmp = connect(monitor, short_limits());
  const auto first = qmp->execute("slow");
  ASSERT_FALSE(first);
  EXPECT_EQ(first.error().kind, ErrorKind::kTimedOut);
  const auto second = qmp->execute("quick");
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_EQ(*second, "in time");
}

TEST_F(QmpTest, SurvivesQemusEnd) {
  std::atomic<int> lost{0};
  FakeMonitor monitor([](FakeMonitor& m) {
    m.negotiate();
    m.hear();  // and no answer
  });
  auto qmp = connect(monitor);
  qmp->on_lost([&] { ++lost; });
  auto answer = qmp->execute("anything");
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().kind, ErrorKind::kPeerLost);
  EXPECT_THAT(answer.error().message, HasSubstr("QEMU closed its monitor"));
  answer = qmp->execute("again");
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().kind, ErrorKind::kPeerLost);
  for (int i = 0; i < 500 && lost == 0; ++i) std::this_thread::sleep_for(milliseconds(2));
  EXPECT_EQ(lost, 1);
  qmp->on_lost([&] { lost += 10; });  // at once, because it has happened
  EXPECT_EQ(lost, 11);
}

TEST_F(QmpTest, HandsDescriptorsOver) {
  struct stat sent {};
  struct stat received {};
  UniqueFd file(::open("/tmp", O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(::fstat(file.get(), &sent), 0);
  FakeMonitor monitor([&](FakeMonitor& m) {
    m.negotiate();
    const Json command = m.hear();
    EXPECT_EQ(command.at("execute"), "getfd");
    EXPECT_EQ(command.at("arguments").at("fdname"), "stream");
    EXPECT_EQ(::fstat(m.descriptor().get(), &received), 0);
    m.answer(command, Json::object());
    m.hear();
  });
  auto qmp = connect(monitor);
  EXPECT_TRUE(qmp->give_descriptor("stream", file.get()));
  EXPECT_EQ(received.st_ino, sent.st_ino);
  EXPECT_EQ(received.st_dev, sent.st_dev);
}

TEST_F(QmpTest, ReadsLongAnswersInPieces) {
  QmpLimits limits;
  limits.line = std::size_t{8} << 20;
  const std::string text(std::size_t{4} << 20, 'x');
  FakeMonitor monitor([&](FakeMonitor& m) {
    m.negotiate();
    m.answer(m.hear(), text);
    m.hear();
  });
  auto qmp = connect(monitor, limits);
  const auto answer = qmp->execute("much");
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_TRUE(*answer == text);
}

TEST_F(QmpTest, GivesUpOnALineWithoutEnd) {
  FakeMonitor monitor([&](FakeMonitor& m) {
    m.negotiate();
    m.hear();
    m.say(std::string(400000, 'x'));
    m.hear();
  });
  auto qmp = connect(monitor, short_limits());
  const auto answer = qmp->execute("endless");
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().kind, ErrorKind::kProtocol);
  EXPECT_THAT(answer.error().message, HasSubstr("more than 100000 bytes"));
}

TEST_F(QmpTest, SaysSoWhenTheMonitorServesAnother) {
  FakeMonitor monitor([&](FakeMonitor& m) { m.hear(); });
  const auto silent = connect_qmp(monitor.path(), clock_, short_limits());
  ASSERT_FALSE(silent);
  EXPECT_EQ(silent.error().kind, ErrorKind::kRefused);
  EXPECT_THAT(silent.error().message, HasSubstr("another client holds it"));
}

TEST_F(QmpTest, SaysSoWhenTheMonitorsQueueIsFull) {
  FakeMonitor monitor([&](FakeMonitor& m) { m.hear(); });
  std::vector<UniqueFd> others;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, monitor.path().c_str(), sizeof address.sun_path - 1);
  for (int i = 0; i < 8; ++i) {
    others.emplace_back(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    (void)::connect(others.back().get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
  }
  const auto full = connect_qmp(monitor.path(), clock_, short_limits());
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().kind, ErrorKind::kRefused);
  EXPECT_THAT(full.error().message, HasSubstr("another client holds"));
}

TEST_F(QmpTest, RefusesWhatIsNoMonitor) {
  FakeMonitor monitor([&](FakeMonitor& m) {
    m.say("SSH-2.0-OpenSSH\r\n");
    m.hear();
  });
  const auto other = connect_qmp(monitor.path(), clock_, short_limits());
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().kind, ErrorKind::kProtocol);
  EXPECT_THAT(other.error().message, HasSubstr("SSH-2.0"));
}

TEST_F(QmpTest, SaysWhereNothingIs) {
  const auto missing = connect_qmp("/nonexistent/qmp", clock_);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().kind, ErrorKind::kNotFound);
  EXPECT_THAT(missing.error().message, HasSubstr("/nonexistent/qmp"));
  const auto longer = connect_qmp(std::string(200, 'x'), clock_);
  ASSERT_FALSE(longer);
  EXPECT_EQ(longer.error().kind, ErrorKind::kInvalidArgument);
}

TEST_F(QmpTest, CommandsFromManyThreadsDoNotMix) {
  FakeMonitor monitor([&](FakeMonitor& m) {
    m.negotiate();
    for (Json command = m.hear(); !command.is_null(); command = m.hear()) m.answer(command, command.at("execute"));
  });
  auto qmp = connect(monitor);
  std::vector<std::thread> threads;
  std::atomic<int> right{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 100; ++i) {
        const std::string name = std::to_string(t) + "-" + std::to_string(i);
        const auto answer = qmp->execute(name);
        if (answer && *answer == name) ++right;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(right, 400);
}

}  // namespace
}  // namespace godwit::qemu::qmp_test
