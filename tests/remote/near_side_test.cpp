#include "remote/near_side.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <csignal>

#include "base/unique_fd.h"

namespace godwit::near_side_test {
namespace {

using namespace std::chrono_literals;

class NearSideTest : public ::testing::Test {
 protected:
  NearSideTest() {
    std::signal(SIGPIPE, SIG_IGN);
    int ends[2];
    EXPECT_EQ(::pipe(ends), 0);
    in_.reset(ends[0]);
    near_.reset(ends[1]);
    EXPECT_EQ(::pipe(ends), 0);
    heard_.reset(ends[0]);
    out_.reset(ends[1]);
  }
  void say(const std::string& text) {
    ASSERT_EQ(::write(near_.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  void gone(const std::string& why) {
    why_ = why;
    ++gone_;
  }
  bool gone_within(Duration limit) {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (gone_ == 0 && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(5ms);
    return gone_ == 1;
  }
  UniqueFd in_, near_, heard_, out_;
  std::string why_;  ///< once it is
  std::atomic<int> gone_ = 0;
};

TEST_F(NearSideTest, GivesTheKeyAndNoticesTheEnd) {
  NearSide near(in_.get(), out_.get());
  say("ssh:00\n\n");
  EXPECT_EQ(near.key_line().value_or(KeyBytes()).text(), "ssh:00");
  near.watch([&](const std::string& why) { gone(why); });
  say("\n");
  EXPECT_FALSE(gone_within(100ms));
  near_.reset();
  EXPECT_TRUE(gone_within(5s));
  EXPECT_NE(why_.find("has ended"), std::string::npos) << why_;
}

TEST_F(NearSideTest, IsGoneWhereNothingIsHeardForLong) {
  NearSide near(in_.get(), out_.get());
  near.watch([&](const std::string& why) { gone(why); }, 300ms);
  for (int i = 0; i < 10; ++i) {
    say("\n");
    EXPECT_FALSE(gone_within(50ms));
  }
  EXPECT_TRUE(gone_within(5s));
  EXPECT_NE(why_.find("nothing was heard"), std::string::npos) << why_;
}

TEST_F(NearSideTest, MayEndBeforeItIsGone) {
  {
    NearSide near(in_.get(), out_.get());
    near.watch([&](const std::string& why) { gone(why); });
  }
  EXPECT_EQ(gone_, 0);
}

TEST_F(NearSideTest, MayGiveNoKey) {
  NearSide near(in_.get(), out_.get());
  EXPECT_EQ(near.key_line(50ms).error().kind, ErrorKind::kTimedOut);
  say(std::string(600, 'x'));
  EXPECT_EQ(near.key_line().error().kind, ErrorKind::kProtocol);
  near_.reset();
  std::string rest(4096, ' ');
  while (::read(in_.get(), rest.data(), rest.size()) > 0) {
  }
  EXPECT_EQ(near.key_line().error().kind, ErrorKind::kPeerLost);
}

TEST_F(NearSideTest, BeginsALineOfItsOwn) {
  NearSide near(in_.get(), out_.get());
  near.tell(RemoteHello{.program = "godwit 9"});
  near.tell(RemoteHello{.program = "godwit 9"});
  out_.reset();
  std::string heard(4096, ' ');
  heard.resize(static_cast<std::size_t>(std::max<ssize_t>(::read(heard_.get(), heard.data(), heard.size()), 0)));
  const std::string line = line_of(RemoteHello{.program = "godwit 9"});
  EXPECT_EQ(heard, "\n" + line + line);
}

TEST_F(NearSideTest, MayHearNothingAnyMore) {
  NearSide near(in_.get(), out_.get());
  near.tell(RemoteHello{.program = "godwit 9"});
  char bytes[200];
  EXPECT_GT(::read(heard_.get(), bytes, sizeof bytes), 0);
  heard_.reset();
  near.tell(RemoteHello{.program = "godwit 9"});  // EPIPE
}

TEST(AddressOfSsh, IsTheServers) {
  EXPECT_EQ(format_address(address_of_ssh("192.0.2.1 50000 192.0.2.2 22").value()), "tcp://192.0.2.2:0");
  EXPECT_EQ(format_address(address_of_ssh("fd00::1 50000 fd00::2 22").value()), "tcp://[fd00::2]:0");
  for (const char* text :
       {static_cast<const char*>(nullptr), "", "192.0.2.1 50000", "a b c/d e", "UNKNOWN 65535 UNKNOWN"}) {
    const auto address = address_of_ssh(text);
    ASSERT_FALSE(address.has_value());
    EXPECT_EQ(address.error().kind, ErrorKind::kInvalidArgument);
  }
}

}  // namespace
}  // namespace godwit::near_side_test
