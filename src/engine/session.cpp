#include "engine/session.h"

#include <fmt/format.h>

#include <algorithm>

namespace godwit {

namespace {

using std::chrono::seconds;

// A connection that does not greet in this time is somebody else's.
constexpr Duration kGreetingTimeout = seconds(5);
constexpr Duration kLanesTimeout = seconds(15);

Result<wire::Greeting> greet(Channel& channel) {
  auto greeting = TRY(wire::receive_greeting(channel, kGreetingTimeout));
  channel.set_receive_timeout(Duration{});
  return greeting;
}

void turn_away(const std::function<void(std::string_view)>& on_note, const std::string& why) {
  if (on_note) on_note("a connection was turned away: " + why);
}

}  // namespace

Result<OpenedSession> await_session(Listener& listener, Duration patience, const Clock& clock,
                                    const std::function<void(std::string_view)>& on_note) {
  const auto deadline = clock.now() + patience;
  while (true) {
    const Duration left = patience.count() == 0 ? patience : std::max(deadline - clock.now(), Duration{1});
    auto channel = TRY_IN("waiting for a source", listener.accept(left));
    const auto greeting = greet(*channel);
    if (!greeting) {
      turn_away(on_note, greeting.error().message);
    } else if (greeting->role != wire::Role::kControl) {
      turn_away(on_note, "it greeted as a lane, but no migration has begun");
    } else {
      return OpenedSession{std::move(channel), greeting->secret};
    }
  }
}

Result<std::vector<std::unique_ptr<Channel>>> await_lanes(Listener& listener, const wire::Secret& secret,
                                                          unsigned lanes, const Clock& clock,
                                                          const std::function<void(std::string_view)>& on_note) {
  std::vector<std::unique_ptr<Channel>> channels(lanes);
  const auto deadline = clock.now() + kLanesTimeout;
  for (unsigned have = 0; have < lanes;) {
    const auto left = deadline - clock.now();
    if (left.count() <= 0) {
      return fail(ErrorKind::kTimedOut, fmt::format("the source opened {} of {} lanes in time", have, lanes));
    }
    auto channel = TRY_IN("waiting for the source's lanes", listener.accept(left));
    const auto greeting = greet(*channel);
    if (!greeting) {
      turn_away(on_note, greeting.error().message);
    } else if (greeting->role != wire::Role::kLane || !wire::same_secret(greeting->secret, secret)) {
      turn_away(on_note, "wrong session secret");
    } else if (greeting->lane >= lanes || channels[greeting->lane]) {
      return fail(ErrorKind::kProtocol,
                  fmt::format("the source opened lane {} of {} twice or out of range", greeting->lane, lanes));
    } else {
      channels[greeting->lane] = std::move(channel);
      ++have;
    }
  }
  return channels;
}

}  // namespace godwit
