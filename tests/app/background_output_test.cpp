// A service's output that nobody takes.
#include "app/background_output.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "base/unique_fd.h"

namespace godwit::background_output_test {
namespace {

class BackgroundOutputTest : public ::testing::Test {
 protected:
  BackgroundOutputTest() {
    std::signal(SIGPIPE, SIG_IGN);  // as in the program
    int ends[2];
    EXPECT_EQ(::pipe(ends), 0);
    out_.reset(ends[0]);
    in_.reset(ends[1]);
    ::fcntl(in_.get(), F_SETPIPE_SZ, 4096);
  }
  /// All that is there, up to the end.
  std::string take_all() {
    std::string text;
    char bytes[4096];
    for (ssize_t got = 0; (got = ::read(out_.get(), bytes, sizeof bytes)) > 0;) {
      text.append(bytes, static_cast<std::size_t>(got));
    }
    return text;
  }
  UniqueFd out_, in_;
};

TEST_F(BackgroundOutputTest, SaysAllInOrder) {
  {
    BackgroundOutput output(in_.get());
    output.say("listening\n");
    output.note("a \x1b[2Jnote");
  }
  in_.reset();
  EXPECT_EQ(take_all(), "listening\ngodwit: a ?[2Jnote\n");
}

TEST_F(BackgroundOutputTest, HoldsUpNobodyWhereNobodyReads) {
  {
    BackgroundOutput output(::dup(in_.get()));  // outlives this test, as the thread does
    // More than a pipe and the queue take.
    for (int i = 0; i < 3000; ++i) output.say(std::string(100, 'x') + "\n");
  }
  // The thread that writes has been left to itself, and ends as soon as somebody reads.
  std::string text;
  char bytes[4096];
  while (std::ranges::count(text, '\n') < 1000) {
    const ssize_t got = ::read(out_.get(), bytes, sizeof bytes);
    ASSERT_GT(got, 0);
    text.append(bytes, static_cast<std::size_t>(got));
  }
  EXPECT_TRUE(text.starts_with(std::string(100, 'x') + "\n"));
}

TEST_F(BackgroundOutputTest, SaysHowMuchWasLost) {
  BackgroundOutput output(in_.get());
  for (int i = 0; i < 3000; ++i) output.say(std::string(100, 'x') + "\n");
  std::string text;
  char bytes[4096];
  while (std::ranges::count(text, '\n') < 500) {
    const ssize_t got = ::read(out_.get(), bytes, sizeof bytes);
    ASSERT_GT(got, 0);
    text.append(bytes, static_cast<std::size_t>(got));
  }
  output.say("later\n");
  while (text.find("were lost") == std::string::npos) {
    const ssize_t got = ::read(out_.get(), bytes, sizeof bytes);
    ASSERT_GT(got, 0);
    text.append(bytes, static_cast<std::size_t>(got));
  }
  EXPECT_NE(text.find("messages before this one were lost: nobody took them\n"), std::string::npos);
}

}  // namespace
}  // namespace godwit::background_output_test
