// Whoever waits for a source is held up by nobody else.
#include "engine/session.h"

#include <gtest/gtest.h>

#include <array>
#include <thread>

namespace godwit {
namespace {

using namespace std::chrono_literals;

std::array<std::byte, 48> greeting_bytes(const wire::Greeting& greeting) {
  std::array<std::byte, 48> bytes{};
  const auto pair = make_channel_pair();
  EXPECT_TRUE(pair);
  EXPECT_TRUE(wire::send_greeting(*pair->first, greeting));
  EXPECT_TRUE(pair->second->receive(bytes));
  return bytes;
}

TEST(Session, APeerThatDripsItsGreetingDoesNotKeepTheSourceOut) {
  auto listener = listen_on(parse_address("tcp://127.0.0.1:0").value());
  ASSERT_TRUE(listener) << listener.error().message;
  const auto stranger = connect_to((*listener)->address());
  const auto source = connect_to((*listener)->address());
  ASSERT_TRUE(stranger && source);
  const auto secret = wire::random_secret();
  ASSERT_TRUE(secret);
  ASSERT_TRUE(wire::send_greeting(**source, {.role = wire::Role::kControl, .secret = *secret}));

  // All of its bytes are right, and each comes long before a limit on the next byte.
  std::jthread dripper([&, bytes = greeting_bytes({.role = wire::Role::kControl})](std::stop_token stop) {
    for (std::size_t i = 0; i < bytes.size() && !stop.stop_requested(); ++i) {
      if (!send_bytes(**stranger, Bytes(bytes).subspan(i, 1))) return;
      std::this_thread::sleep_for(150ms);
    }
  });
  std::string notes;
  const auto session = await_session(**listener, 60s, SteadyClock(), [&](std::string_view note) { notes += note; });
  ASSERT_TRUE(session) << session.error().message;
  EXPECT_TRUE(session->secret == *secret) << "the stranger's last byte was waited for";
  EXPECT_NE(notes.find("did not greet"), std::string::npos) << notes;
}

}  // namespace
}  // namespace godwit
