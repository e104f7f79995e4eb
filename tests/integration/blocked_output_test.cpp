// The engine's own output goes nowhere: a pipe that nobody reads, or whose reader has gone. The guest does not wait for
// it.
#include <fcntl.h>
#include <sys/stat.h>

#include <thread>

#include "tests/integration/scene.h"

namespace godwit::testing {
namespace {

/// A named pipe that takes what is written until it is filled up.
class Pipe {
 public:
  static Result<Pipe> make() {
    Pipe pipe;
    pipe.folder_ = TRY(TempFolder::make("/tmp"));
    if (::mkfifo(pipe.path().c_str(), 0600) != 0) return fail_os("mkfifo");
    pipe.reader_ = UniqueFd(::open(pipe.path().c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
    if (!pipe.reader_) return fail_os("open the pipe");
    return pipe;
  }
  std::filesystem::path path() const { return folder_.path() / "pipe"; }
  /// Whoever writes from here on is stuck.
  void fill() {
    const std::string line(64, '.');
    while (::write(reader_.get(), line.data(), line.size()) > 0) {
    }
    // What is shorter than a line fits in between.
    while (::write(reader_.get(), line.data(), 1) > 0) {
    }
  }
  /// Takes everything away that is there now.
  std::string take() {
    std::string text;
    char buffer[4096];
    for (ssize_t got = 0; (got = ::read(reader_.get(), buffer, sizeof buffer)) > 0;) {
      text.append(buffer, static_cast<std::size_t>(got));
    }
    return text;
  }
  void close() { reader_ = {}; }

 private:
  TempFolder folder_;
  UniqueFd reader_;
};

/// As failing_at(), with progress for every change going into the pipe.
GodwitOptions printing_into(const Pipe& pipe, const std::string& stop_at) {
  GodwitOptions options = failing_at(stop_at, "stop");
  options.arguments = {"--progress", "json"};
  options.output = pipe.path();
  return options;
}

TEST(BlockedOutput, GuestIsMovedAllTheSame) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSIGN_OR_FAIL(pipe, Pipe::make());
  ASSERT_OK(scene->receive());
  // From before the guest's stop on, so that the engine's first word of the pause is one too many.
  ASSERT_OK(scene->send(printing_into(pipe, "handing-over")));
  ASSERT_OK(scene->sender().process().wait_until_stopped(seconds(60)));
  pipe.fill();
  ASSERT_OK(scene->sender().process().send_signal(SIGCONT));
  ASSERT_OK(scene->receiver().wait(seconds(30)));
  EXPECT_EQ(scene->sink().status().value_or("?"), "running") << "the guest waits for somebody to read";
  ASSERT_OK(expect_guest_works(scene->sink()));
  // The engine says its last words when it can.
  wait_until([&] { return (void)pipe.take(), !scene->sender().process().alive(); }, seconds(20));
  ASSERT_OK(scene->expect_moved());
}

TEST(BlockedOutput, GuestIsLetRunAllTheSame) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSIGN_OR_FAIL(pipe, Pipe::make());
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send(printing_into(pipe, "stopped")));
  ASSERT_OK(scene->sender().process().wait_until_stopped(seconds(60)));
  pipe.fill();
  ASSERT_OK(scene->sender().process().send_signal(SIGINT));
  ASSERT_OK(scene->sender().process().send_signal(SIGCONT));
  EXPECT_TRUE(wait_until([&] { return scene->source().status().value_or("?") == "running"; }, seconds(20)))
      << "the guest waits for somebody to read";
  ASSERT_OK(expect_guest_works(scene->source()));
  wait_until([&] { return (void)pipe.take(), !scene->sender().process().alive(); }, seconds(20));
  ASSERT_OK(scene->expect_source_runs({"cancel|interrupt"}));
}

TEST(BlockedOutput, AReaderThatGoesAwayEndsNothing) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSIGN_OR_FAIL(pipe, Pipe::make());
  ASSERT_OK(scene->receive());
  ASSERT_OK(scene->send(printing_into(pipe, "stopped")));
  ASSERT_OK(scene->sender().process().wait_until_stopped(seconds(60)));
  pipe.close();
  ASSERT_OK(scene->sender().process().send_signal(SIGCONT));
  ASSERT_OK(scene->expect_moved());
}

}  // namespace
}  // namespace godwit::testing
