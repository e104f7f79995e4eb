// The socket on which a move is steered: who may, and that nobody who misbehaves holds up the others.
#include "app/control_server.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "app/control_request.h"
#include "net/channel.h"

namespace godwit::control_server_test {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

// Far longer than an answer takes on a machine that does much else.
constexpr auto kPatience = 20s;

class ControlServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = fs::temp_directory_path() / "godwit-control-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    path_ = folder_ / "socket";
  }
  void TearDown() override {
    server_.reset();
    fs::remove_all(folder_);
  }
  void serve() {
    auto server = ControlServer::listen(path_);
    ASSERT_TRUE(server) << server.error().message;
    server_ = std::move(*server);
    server_->serve([](std::string_view line) { return "<" + std::string(line) + ">"; });
  }
  std::unique_ptr<Channel> client() {
    auto channel = connect_to({.kind = Address::Kind::kUnix, .host = {}, .port = 0, .path = path_});
    EXPECT_TRUE(channel) << channel.error().message;
    return std::move(*channel);
  }
  static std::string read(Channel& channel, std::size_t bytes) {
    std::vector<std::byte> room(bytes);
    const auto got = channel.read(room, bytes, Deadline::in(kPatience));
    return got ? std::string(text_of(room)) : got.error().message;
  }
  static void write(Channel& channel, std::string_view text) {
    ASSERT_TRUE(send_bytes(channel, bytes_of(text), Deadline::in(kPatience)));
  }
  void expect_served() {
    const auto one = client();
    write(*one, "hello\n");
    EXPECT_EQ(read(*one, 8), "<hello>\n");
  }

  fs::path folder_;
  fs::path path_;
  std::unique_ptr<ControlServer> server_;
};

TEST_F(ControlServerTest, IsForThisUserAloneAndGoesWithTheMove) {
  const mode_t before = ::umask(0);
  serve();
  ::umask(before);
  struct stat made {};
  ASSERT_EQ(::lstat(path_.c_str(), &made), 0);
  EXPECT_TRUE(S_ISSOCK(made.st_mode));
  EXPECT_EQ(made.st_mode & 0777, 0600U);
  EXPECT_EQ(made.st_uid, ::geteuid());
  expect_served();
  server_.reset();
  EXPECT_FALSE(fs::exists(path_));
}

TEST_F(ControlServerTest, AnswersLineByLine) {
  serve();
  const auto one = client();
  write(*one, "a\nb");
  EXPECT_EQ(read(*one, 4), "<a>\n");
  write(*one, "c\nd\n\n");
  EXPECT_EQ(read(*one, 12), "<bc>\n<d>\n<>\n");
}

TEST_F(ControlServerTest, ReplacesADeadSocketAndNothingElse) {
  sockaddr_un where{};
  where.sun_family = AF_UNIX;
  path_.string().copy(where.sun_path, sizeof where.sun_path - 1);
  {
    const UniqueFd dead(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::bind(dead.get(), reinterpret_cast<const sockaddr*>(&where), sizeof where), 0);
  }
  serve();
  expect_served();
  const auto second = ControlServer::listen(path_);
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().message.find("another program listens there"), std::string::npos) << second.error().message;
  expect_served();
  server_.reset();
  std::ofstream(path_) << "precious";
  EXPECT_FALSE(ControlServer::listen(path_));
  EXPECT_EQ(fs::file_size(path_), 8U);
}

TEST_F(ControlServerTest, ServesOthersBesideThoseThatAreSilentOrReadNothing) {
  serve();
  std::vector<std::unique_ptr<Channel>> silent;
  for (int i = 0; i < 5; ++i) silent.push_back(client());
  const auto half = client();
  write(*half, "{\"command\"");
  expect_served();
  // One that asks and never reads: its answers fill the socket, and no more of it is read.
  const auto greedy = client();
  const std::string request = std::string(1000, 'x') + "\n";
  while (send_bytes(*greedy, bytes_of(request), Deadline::in(100ms))) {
  }
  expect_served();
}

TEST_F(ControlServerTest, TurnsAwayWhatIsTooLong) {
  serve();
  const auto one = client();
  std::string endless(kLongestRequest + 100, 'x');
  write(*one, endless);
  const std::string answer = read(*one, 15);
  EXPECT_EQ(answer, R"({"done":false,")");
  expect_served();
}

TEST_F(ControlServerTest, TakesMoreClientsThanItServesAtOnce) {
  serve();
  std::vector<std::unique_ptr<Channel>> many;
  for (int i = 0; i < 25; ++i) many.push_back(client());
  // Those that are in are served and go; then the others are.
  for (auto& one : many) {
    write(*one, "x\n");
    EXPECT_EQ(read(*one, 4), "<x>\n");
    one.reset();
  }
  expect_served();
}

TEST_F(ControlServerTest, EndsWhileClientsAreThere) {
  serve();
  const auto one = client();
  write(*one, "x");
  server_.reset();
  EXPECT_FALSE(fs::exists(path_));
}

}  // namespace
}  // namespace godwit::control_server_test
