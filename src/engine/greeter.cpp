#include "engine/greeter.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <array>

#include "net/accept_errors.h"
#include "wire/control.h"
#include "wire/limits.h"

namespace godwit {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// A connection that does not greet in this time is somebody else's.
constexpr Duration kGreetingTimeout = seconds(5);
// From the connection on. A source opens its lanes before it says Hello, some of which may not be answered.
constexpr Duration kHelloTimeout = seconds(15);
// To read why it is turned away.
constexpr Duration kLeaveTimeout = seconds(2);
// A source that comes while so many are being greeted is heard nevertheless: the oldest goes.
constexpr std::size_t kMostStrangers = 256;
// Each may announce a Hello of 2 MiB.
constexpr std::size_t kMostHellos = 16;
// In an hour: whoever is scanned all day hears of it all the same, and of a source that is turned away, too.
constexpr unsigned kMostNotes = 20;
constexpr Duration kNotesFor = std::chrono::hours(1);
constexpr Duration kRest = milliseconds(100);
// How often somebody looks at the clock, which in a test does not wake anybody.
constexpr Duration kLookAround = milliseconds(50);
constexpr Duration kNothingToDo = seconds(5);

}  // namespace

Greeter::Greeter(Listener& listener, const Clock& clock, Desk& desk, OnNote on_note, Wrap wrap)
    : listener_(listener),
      clock_(clock),
      desk_(desk),
      on_note_(std::move(on_note)),
      wrap_(std::move(wrap)),
      thread_([this](const std::stop_token& stop) { run(stop); }) {}

Greeter::~Greeter() {
  thread_.request_stop();
  wake_.wake();
}

void Greeter::run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    const bool connection = wait();
    if (connection) take_connection();
    make_room();
    drop_late();
    turn_away(desk_.clear_out());
    let_leave();
  }
}

/// Until something comes; then hears those who have said something. Whether a connection waits to be taken.
bool Greeter::wait() {
  const bool takes = listening_ && clock_.now() >= rests_until_;
  std::vector<pollfd> waiting{{.fd = wake_.descriptor(), .events = POLLIN, .revents = 0},
                              {.fd = takes ? listener_.descriptor() : -1, .events = POLLIN, .revents = 0}};
  for (const Stranger& s : strangers_) {
    waiting.push_back({.fd = s.channel->link().descriptor(), .events = POLLIN, .revents = 0});
  }
  const Duration tick = takes && strangers_.empty() && !desk_.some_wait() ? kNothingToDo : kLookAround;
  if (::poll(waiting.data(), waiting.size(), static_cast<int>(tick / milliseconds(1))) <= 0) return false;
  if (waiting[0].revents != 0) wake_.drain();
  for (std::size_t i = 0; i < strangers_.size(); ++i) {
    if (waiting[i + 2].revents != 0 && !hear(strangers_[i])) strangers_[i].channel.reset();
  }
  std::erase_if(strangers_, [](const Stranger& s) { return !s.channel; });
  let_leave();
  return waiting[1].revents != 0;
}

void Greeter::take_connection() {
  auto channel = listener_.accept(milliseconds(1));
  if (channel) {
    if (wrap_) channel = wrap_(std::move(*channel));
    if (!channel) return note(channel.error().message);
    strangers_.push_back({.channel = std::move(*channel), .came = clock_.now(), .opening = {}});
    return;
  }
  const int number = channel.error().os_error;
  if (channel.error().kind == ErrorKind::kTimedOut) return;  // it is gone again
  if (is_shortage(number)) {
    rests_until_ = clock_.now() + kRest;
    return drop_oldest(false);
  }
  listening_ = false;
  desk_.listening_ended(channel.error());
}

void Greeter::make_room() {
  const auto sources = [&] {
    return static_cast<std::size_t>(std::ranges::count_if(strangers_, [](const Stranger& s) { return s.source(); }));
  };
  while (sources() > kMostHellos) drop_oldest(true);
  while (strangers_.size() > kMostStrangers) drop_oldest(false);
}

void Greeter::drop_oldest(bool sources) {
  const auto oldest = std::ranges::find_if(strangers_, [&](const Stranger& s) { return s.source() == sources; });
  if (oldest == strangers_.end()) return;
  if (!oldest->leaving) note("too many connect here at the same time, and it has not said who it is");
  strangers_.erase(oldest);
}

/// Takes what has come. False: this connection has been placed, or is gone.
bool Greeter::hear(Stranger& stranger) {
  std::array<std::byte, 4096> unread;
  while (true) {
    const MutableBytes room = stranger.leaving ? MutableBytes(unread) : stranger.opening.room();
    const auto got = stranger.channel->read(room, 0, Deadline::never());
    if (!got && !stranger.leaving && got.error().kind == ErrorKind::kRefused) {
      // It does not prove who it is, or does not encrypt: the layer below lets it know what it can understand.
      turn_away({std::move(stranger.channel), got.error().message, true});
      return false;
    }
    if (!got) {
      if (!stranger.leaving) note(got.error().message);
      return false;
    }
    if (*got == 0) return true;
    if (stranger.leaving) return true;  // one that talks on must not hold up the others
    if (const Status taken = stranger.opening.advance(*got); !taken) {
      turn_away({std::move(stranger.channel), taken.error().message, stranger.opening.from_godwit()});
      return false;
    }
    if (stranger.opening.complete()) {
      hand_over(stranger);
      return false;
    }
  }
}

void Greeter::hand_over(Stranger& stranger) {
  const wire::Greeting& greeting = *stranger.opening.greeting();
  if (greeting.role == wire::Role::kControl) {
    return turn_away(desk_.take_source({std::move(stranger.channel), greeting.secret, stranger.opening.take_hello()}));
  }
  if (greeting.role == wire::Role::kLinkTest) return turn_away(desk_.take_link_test(std::move(stranger.channel)));
  // One without a channel has been heard in this round, and is at the desk or gone.
  const auto hello_comes = [this](const wire::Secret& secret) {
    return std::ranges::any_of(strangers_, [&](const Stranger& s) {
      return s.channel && s.source() && wire::same_secret(s.opening.greeting()->secret, secret);
    });
  };
  turn_away(desk_.take_lane({greeting.lane, std::move(stranger.channel)}, greeting.secret, hello_comes));
}

Duration Greeter::patience_with(const Stranger& stranger) const noexcept {
  return stranger.leaving ? kLeaveTimeout : stranger.source() ? kHelloTimeout : kGreetingTimeout;
}

void Greeter::drop_late() {
  const auto now = clock_.now();
  std::erase_if(strangers_, [&](const Stranger& s) {
    if (now - s.came < patience_with(s)) return false;
    if (!s.leaving) {
      note(fmt::format("it did not {} within {:.3g} s", s.source() ? "say Hello" : "greet",
                       std::chrono::duration<double>(patience_with(s)).count()));
    }
    return true;
  });
}

void Greeter::let_leave() {
  std::ranges::move(leaving_, std::back_inserter(strangers_));
  leaving_.clear();
}

void Greeter::turn_away(std::vector<TurnedAway> those) {
  for (TurnedAway& one : those) turn_away(std::move(one));
}

/// Whoever can understand it is told why, and gets the time to read it: closing with bytes unread would take it back.
void Greeter::turn_away(TurnedAway one) {
  note(one.why);
  if (!one.answer) return;
  // What does not fit into the socket is not waited for.
  (void)wire::ControlConnection(*one.channel).send(wire::Refusal{one.why}, Deadline::in(Duration::zero()));
  (void)one.channel->shut_down();
  leaving_.push_back({.channel = std::move(one.channel), .came = clock_.now(), .opening = {}, .leaving = true});
}

void Greeter::note(const std::string& why) {
  if (!on_note_) return;
  const auto now = clock_.now();
  if (notes_ > 0 && now - noting_since_ >= kNotesFor) {
    if (unsaid_ > 0) on_note_(fmt::format("{} more connections have been turned away since then", unsaid_));
    notes_ = 0;
    unsaid_ = 0;
  }
  if (notes_ == 0) noting_since_ = now;
  if (++notes_ <= kMostNotes) return on_note_("a connection was turned away: " + why);
  if (++unsaid_ == 1) on_note_("more connections are turned away; for an hour no more is said of them");
}

}  // namespace godwit
