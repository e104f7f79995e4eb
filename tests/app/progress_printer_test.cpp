// Progress goes to a pipe that nobody reads: what is printed waits, the migration does not.
#include "app/progress_printer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "tests/support/fake_migration.h"

namespace godwit::progress_printer_test {
namespace {

using namespace std::chrono_literals;

/// A pipe that is full from the beginning; drain() reads it from then on, so that a stuck writer goes on.
class FullPipe {
 public:
  FullPipe() {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    read_end_ = UniqueFd(ends[0]);
    write_end_ = UniqueFd(ends[1]);
    ::fcntl(ends[1], F_SETFL, O_NONBLOCK);
    const std::string filling(4096, '.');
    while (::write(ends[1], filling.data(), filling.size()) > 0) {
    }
    ::fcntl(ends[1], F_SETFL, 0);
  }
  ~FullPipe() {
    drain();
    write_end_ = {};  // the end that the reader waits for
  }
  void write(std::string_view text) {
    EXPECT_EQ(::write(write_end_.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  void drain() {
    if (reader_.joinable()) return;
    reader_ = std::jthread([this] {
      char buffer[4096];
      for (ssize_t got = 0; (got = ::read(read_end_.get(), buffer, sizeof buffer)) > 0;) {
        text_.append(buffer, static_cast<std::size_t>(got));
      }
    });
  }
  /// Everything that was written. Nobody writes any more.
  std::string text() {
    drain();
    write_end_ = {};
    reader_.join();
    return text_;
  }

 private:
  UniqueFd read_end_, write_end_;
  std::string text_;
  std::jthread reader_;
};

class BlockedOutput : public testing::FakeMigration, public ::testing::WithParamInterface<ProgressMode> {
 protected:
  ViewOutputs outputs() {
    const auto write = [this](std::string_view text) { pipe_.write(text); };
    return {write, write, GetParam() == ProgressMode::kBar, [] { return 80U; }};
  }
  FullPipe pipe_;
};

TEST_P(BlockedOutput, DoesNotHoldUpTheMigration) {
  ProgressView view(GetParam(), outputs(), steady_);
  std::optional<ProgressPrinter> printer(std::in_place, view);
  on_progress_ = [&](const Progress& progress) { printer->post(progress); };
  auto sink = std::async(std::launch::async, [&] { return receive(); });
  auto sent = std::async(std::launch::async, [&] { return send(steady_); });
  // Far more than it takes: a coordinator that is stuck in the pipe never comes back.
  EXPECT_EQ(sent.wait_for(30s), std::future_status::ready) << "the guest waits for somebody to read";
  pipe_.drain();
  const auto report = sent.get();
  EXPECT_EQ(report.outcome, Outcome::kDone) << (report.error ? report.error->message : "");
  EXPECT_EQ(sink.get().outcome, Outcome::kDone);
  EXPECT_FALSE(source_.runs());
  EXPECT_TRUE(sink_.runs());
  printer.reset();
  view.finish();
  EXPECT_FALSE(pipe_.text().empty());
}

INSTANTIATE_TEST_SUITE_P(As, BlockedOutput,
                         ::testing::Values(ProgressMode::kAuto, ProgressMode::kBar, ProgressMode::kJson),
                         [](const auto& tested) {
                           return tested.param == ProgressMode::kBar    ? "Bar"
                                  : tested.param == ProgressMode::kJson ? "Json"
                                                                        : "Lines";
                         });

/// Somebody reads again: every phase is there, and what is not worth its while any more has made room.
TEST(ProgressPrinter, PrintsEveryPhaseAndOfEachTheLatest) {
  FullPipe pipe;
  const SteadyClock clock;
  const auto write = [&](std::string_view text) { pipe.write(text); };
  ProgressView view(ProgressMode::kJson, {write, write, false, [] { return 80U; }}, clock);
  std::optional<ProgressPrinter> printer(std::in_place, view);
  auto posted = std::async(std::launch::async, [&] {
    for (const Phase phase : {Phase::kConnecting, Phase::kCopying, Phase::kPaused, Phase::kDone}) {
      for (std::uint64_t left = 1000; left > 0; --left) {
        printer->post({.phase = phase, .ram_bytes = 1 << 20, .pages_left = left});
      }
    }
  });
  EXPECT_EQ(posted.wait_for(10s), std::future_status::ready) << "post() waits for the reader";
  pipe.drain();
  posted.get();
  printer.reset();
  const std::string text = pipe.text();
  std::size_t at = 0;
  for (const char* phase : {"connecting", "copying", "paused", "done"}) {
    at = text.find(phase, at);
    EXPECT_NE(at, std::string::npos) << phase << " is missing or late in " << text.substr(text.find('{'));
    if (at == std::string::npos) return;
  }
  EXPECT_LT(std::count(text.begin(), text.end(), '{'), 10) << "it printed what was stale";
}

}  // namespace
}  // namespace godwit::progress_printer_test
