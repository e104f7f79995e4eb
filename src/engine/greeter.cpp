#include "engine/greeter.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <cerrno>

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
constexpr Duration kLanesTimeout = seconds(15);
// Lanes that a source has opened and that are not here after this time have been lost on the way.
constexpr Duration kLostLanesTimeout = seconds(3);
// And if none of them is, the source should hear so before it gives up waiting for Welcome.
constexpr Duration kNoLanesTimeout = seconds(7);
// To read why it is turned away.
constexpr Duration kLeaveTimeout = seconds(2);
// A source that comes while so many are being greeted is heard nevertheless: the oldest goes.
constexpr std::size_t kMostStrangers = 256;
// Each may announce a Hello of 2 MiB.
constexpr std::size_t kMostHellos = 16;
constexpr std::size_t kMostSources = 4;
constexpr std::size_t kMostParkedLanes = 2 * wire::kMaxLanes;
constexpr unsigned kMostNotes = 20;
constexpr Duration kRest = milliseconds(100);
// How often somebody looks at the clock, which in a test does not wake anybody.
constexpr Duration kLookAround = milliseconds(50);
constexpr Duration kNothingToDo = seconds(5);

}  // namespace

Greeter::Greeter(Listener& listener, const Clock& clock, OnNote on_note, Wrap wrap)
    : listener_(listener),
      clock_(clock),
      on_note_(std::move(on_note)),
      wrap_(std::move(wrap)),
      thread_([this](const std::stop_token& stop) { run(stop); }) {}

Greeter::~Greeter() {
  thread_.request_stop();
  wake_.wake();
}

// ---- for those who wait

Status Greeter::waiting_may_go_on() const {
  if (interrupted_) return fail(ErrorKind::kCancelled, "interrupted");
  if (ended_) return fail(*ended_);
  return {};
}

Result<GreetedSource> Greeter::await_source(Duration patience) {
  const auto deadline = clock_.now() + patience;
  std::unique_lock lock(mutex_);
  refusal_.reset();
  while (true) {
    TRY_IN("waiting for a source", waiting_may_go_on());
    if (!sources_.empty()) break;
    if (patience > Duration::zero() && clock_.now() >= deadline) {
      return fail(ErrorKind::kTimedOut,
                  "waiting for a source: " + format_address(listener_.address()) + ": nobody connected in time");
    }
    changed_.wait_for(lock, kLookAround);
  }
  GreetedSource source = std::move(sources_.front());
  sources_.pop_front();
  current_ = source.secret;
  return source;
}

Result<std::vector<GreetedLane>> Greeter::await_lanes(const wire::Secret& secret, unsigned count, bool all) {
  const auto began = clock_.now();
  std::vector<GreetedLane> have;
  std::unique_lock lock(mutex_);
  while (true) {
    TRY_IN("waiting for the source's lanes", waiting_may_go_on());
    TRY(collect_lanes(secret, count, have));
    if (have.size() == count) break;
    const auto waited = clock_.now() - began;
    if (!all && !have.empty() && waited >= kLostLanesTimeout) break;
    if (waited >= (all ? kLanesTimeout : kNoLanesTimeout)) {
      return fail(ErrorKind::kPeerLost,
                  fmt::format("only {} of the source's {} lanes arrived here", have.size(), count));
    }
    changed_.wait_for(lock, kLookAround);
  }
  std::ranges::sort(have, {}, &GreetedLane::number);
  return have;
}

Status Greeter::collect_lanes(const wire::Secret& secret, unsigned count, std::vector<GreetedLane>& have) {
  for (auto lane = lanes_.begin(); lane != lanes_.end();) {
    if (!wire::same_secret(lane->secret, secret)) {
      ++lane;
      continue;
    }
    const auto number = lane->lane.number;
    if (number >= count || std::ranges::find(have, number, &GreetedLane::number) != have.end()) {
      return fail(ErrorKind::kProtocol,
                  fmt::format("the source opened lane {} of {} twice or out of range", number, count));
    }
    have.push_back(std::move(lane->lane));
    lane = lanes_.erase(lane);
  }
  return {};
}

void Greeter::refuse_others(std::string why) {
  {
    const std::lock_guard lock(mutex_);
    refusal_ = std::move(why);
  }
  wake_.wake();
}

void Greeter::interrupt() noexcept {
  {
    const std::lock_guard lock(mutex_);
    interrupted_ = true;
  }
  changed_.notify_all();
}

// ---- the thread

void Greeter::run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    const bool connection = wait();
    if (connection) take_connection();
    make_room();
    drop_late();
    clear_out();
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
  const Duration tick = takes && strangers_.empty() && !lanes_wait_ ? kNothingToDo : kLookAround;
  if (::poll(waiting.data(), waiting.size(), static_cast<int>(tick / milliseconds(1))) <= 0) return false;
  if (waiting[0].revents != 0) wake_.drain();
  std::vector<Stranger> still;
  for (std::size_t i = 0; i < strangers_.size(); ++i) {
    if (waiting[i + 2].revents == 0 || hear(strangers_[i])) still.push_back(std::move(strangers_[i]));
  }
  std::ranges::move(leaving_, std::back_inserter(still));
  leaving_.clear();
  strangers_ = std::move(still);
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
  if (number == EMFILE || number == ENFILE || number == ENOBUFS || number == ENOMEM) {
    rests_until_ = clock_.now() + kRest;
    return drop_oldest(false);
  }
  listening_ = false;
  {
    const std::lock_guard lock(mutex_);
    ended_ = channel.error();
  }
  changed_.notify_all();
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
    if (!got) {
      if (!stranger.leaving) note(got.error().message);
      return false;
    }
    if (*got == 0) return true;
    if (stranger.leaving) return true;  // one that talks on must not hold up the others
    if (const Status taken = stranger.opening.advance(*got); !taken) {
      turn_away(std::move(stranger.channel), taken.error().message, stranger.opening.from_godwit());
      return false;
    }
    if (stranger.opening.complete()) return has_said_all(stranger);
  }
}

bool Greeter::has_said_all(Stranger& stranger) {
  const wire::Greeting& greeting = *stranger.opening.greeting();
  std::string why;
  std::unique_ptr<Channel> makes_room;
  {
    const std::lock_guard lock(mutex_);
    const bool lane = greeting.role == wire::Role::kLane;
    if (lane && lanes_.size() >= kMostParkedLanes) {
      const auto oldest = std::ranges::find_if(lanes_, [this](const ParkedLane& l) { return !is_expected(l); });
      if (oldest != lanes_.end()) {
        makes_room = std::move(oldest->lane.channel);
        lanes_.erase(oldest);
      }
    }
    if (refusal_) {
      why = lane ? "wrong session secret" : *refusal_;
    } else if (lane ? lanes_.size() >= kMostParkedLanes : sources_.size() >= kMostSources) {
      why = "others wait here already";
    } else if (lane) {
      lanes_.push_back({{greeting.lane, std::move(stranger.channel)}, greeting.secret, clock_.now()});
    } else {
      sources_.push_back({std::move(stranger.channel), greeting.secret, stranger.opening.take_hello()});
    }
  }
  changed_.notify_all();
  if (makes_room) turn_away(std::move(makes_room), "wrong session secret", false);
  if (!why.empty()) turn_away(std::move(stranger.channel), why, greeting.role == wire::Role::kControl);
  return false;
}

/// Its source has greeted.
bool Greeter::is_expected(const ParkedLane& lane) const {
  const auto is_its = [&](const wire::Secret& secret) { return wire::same_secret(secret, lane.secret); };
  if (current_ && is_its(*current_)) return true;
  return std::ranges::any_of(sources_, [&](const GreetedSource& source) { return is_its(source.secret); }) ||
         std::ranges::any_of(strangers_,
                             [&](const Stranger& s) { return s.source() && is_its(s.opening.greeting()->secret); });
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

/// Sources and lanes that nobody takes any more.
void Greeter::clear_out() {
  std::deque<GreetedSource> sources;
  std::vector<ParkedLane> lanes;
  std::string why;
  {
    const std::lock_guard lock(mutex_);
    const auto now = clock_.now();
    if (refusal_) {
      sources.swap(sources_);
      why = *refusal_;
    }
    for (auto lane = lanes_.begin(); lane != lanes_.end();) {
      if (!refusal_ && now - lane->came < kLanesTimeout) {
        ++lane;
        continue;
      }
      lanes.push_back(std::move(*lane));
      lane = lanes_.erase(lane);
    }
    lanes_wait_ = !lanes_.empty();
  }
  for (auto& source : sources) turn_away(std::move(source.control), why, true);
  for (auto& lane : lanes) turn_away(std::move(lane.lane.channel), "wrong session secret", false);
  std::ranges::move(leaving_, std::back_inserter(strangers_));
  leaving_.clear();
}

/// Whoever can understand it is told why, and gets the time to read it: closing with bytes unread would take it back.
void Greeter::turn_away(std::unique_ptr<Channel> channel, const std::string& why, bool answer) {
  note(why);
  if (!answer) return;
  // What does not fit into the socket is not waited for.
  (void)wire::ControlConnection(*channel).send(wire::Refusal{why}, Deadline::in(Duration::zero()));
  (void)channel->shut_down();
  leaving_.push_back({.channel = std::move(channel), .came = clock_.now(), .opening = {}, .leaving = true});
}

void Greeter::note(const std::string& why) {
  if (!on_note_ || notes_ > kMostNotes) return;
  on_note_(++notes_ <= kMostNotes ? "a connection was turned away: " + why
                                  : "more connections were turned away; no more is said of them");
}

}  // namespace godwit
