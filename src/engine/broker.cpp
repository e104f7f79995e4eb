#include "engine/broker.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "wire/control.h"
#include "wire/limits.h"

namespace godwit {

namespace {

using std::chrono::seconds;

// How long lanes wait for their source, and a place for lanes that are opened after Welcome.
constexpr Duration kLanesTimeout = seconds(15);
// Lanes that a source has opened and that are not here after this time have been lost on the way.
constexpr Duration kLostLanesTimeout = seconds(3);
// And if none of them is, the source should hear so before it gives up waiting for Welcome.
constexpr Duration kNoLanesTimeout = seconds(7);
constexpr std::size_t kMostSourcesPerPlace = 4;
constexpr std::size_t kMostLanesPerPlace = 2 * wire::kMaxLanes;
// Of sources that have no place (yet), whoever they are: a bound that does not grow with the places, because each lane
// is a descriptor, and strangers in the clear may open as many as they like.
constexpr std::size_t kMostLanesWithoutPlace = 4 * wire::kMaxLanes;
// A source that has not been answered by then has given up (kGreetingPatience in sink_session.cpp).
constexpr Duration kSourceTimeout = seconds(10);
// How often somebody looks at the clock, which in a test does not wake anybody.
constexpr Duration kClockLook = std::chrono::milliseconds(50);
constexpr std::string_view kWrongSecret = "wrong session secret";
constexpr std::string_view kOthersWait = "others wait here already";
constexpr std::string_view kNoPlaceInTime = "no place for this VM was free in time";
constexpr std::string_view kBackSince = "the source has come back in another connection since";
// Of sessions that ended while their links were lost.
constexpr std::size_t kMostWords = 64;

TurnedAway with_answer(GreetedSource source, std::string why) {
  return {std::move(source.control), std::move(why), true};
}

TurnedAway silently(GreetedLane lane, std::string_view why) {
  return {std::move(lane.channel), std::string(why), false};
}

}  // namespace

// ---- a place

Broker::Place::Place(Place&& other) noexcept
    : broker_(std::exchange(other.broker_, nullptr)), session_(other.session_), source_(std::move(other.source_)) {}

Broker::Place::~Place() {
  if (broker_ != nullptr) broker_->free(session_);
}

Result<std::vector<GreetedLane>> Broker::Place::await_lanes(unsigned count, bool all, const std::stop_token& stop) {
  return broker_->await_lanes(session_->secret, count, all, stop);
}

void Broker::Place::settle(std::string why_others_are_refused) {
  broker_->settle(*session_, std::move(why_others_are_refused));
}

void Broker::Place::let_come_back(std::function<void()> on_back) {
  const std::lock_guard lock(broker_->mutex_);
  if (!session_->proof) session_->proof = session_->secret;
  session_->on_back = std::move(on_back);
}

Result<GreetedSource> Broker::Place::await_back(Duration at_most, const std::stop_token& stop) {
  return broker_->await_back(*session_, at_most, stop);
}

void Broker::Place::let_come_back_no_more() {
  const std::lock_guard lock(broker_->mutex_);
  session_->proof.reset();
  session_->on_back = nullptr;
}

void Broker::Place::leave_word(std::string why, Duration at_most) {
  broker_->leave_word(*session_, std::move(why), at_most);
}

// ---- for those who wait

Broker::Broker(Listener& listener, const Clock& clock, unsigned places, OnNote on_note, Wrap wrap)
    : listener_(listener),
      clock_(clock),
      places_(places),
      greeter_(listener, clock, *this, std::move(on_note), std::move(wrap)) {}

Status Broker::waiting_may_go_on(const std::stop_token& stop) const {
  if (stop.stop_requested()) return fail(ErrorKind::kCancelled, "interrupted");
  if (ended_) return fail(*ended_);
  return {};
}

Result<Broker::Place> Broker::await_source(Duration patience, const std::stop_token& stop) {
  const auto deadline = clock_.now() + patience;
  std::unique_lock lock(mutex_);
  while (true) {
    TRY_IN("waiting for a source", waiting_may_go_on(stop));
    drop_late_sources();
    if (!sources_.empty() && sessions_.size() < places_) break;
    if (patience > Duration::zero() && clock_.now() >= deadline) {
      return fail(ErrorKind::kTimedOut,
                  "waiting for a source: " + format_address(listener_.address()) + ": nobody connected in time");
    }
    changed_.wait_for(lock, kClockLook);
  }
  GreetedSource source = std::move(sources_.front().source);
  sources_.pop_front();
  sessions_.push_back({source.secret, std::nullopt});
  return Place(*this, std::prev(sessions_.end()), std::move(source));
}

Result<std::vector<GreetedLane>> Broker::await_lanes(const wire::Secret& secret, unsigned count, bool all,
                                                     const std::stop_token& stop) {
  const auto began = clock_.now();
  std::vector<GreetedLane> have;
  std::unique_lock lock(mutex_);
  while (true) {
    TRY_IN("waiting for the source's lanes", waiting_may_go_on(stop));
    TRY(collect_lanes(secret, count, have));
    if (have.size() == count) break;
    if (const Session* const session = session_of(secret); session != nullptr && session->back) {
      return fail(ErrorKind::kPeerLost, "the source has begun once more");
    }
    const auto waited = clock_.now() - began;
    if (!all && !have.empty() && waited >= kLostLanesTimeout) break;
    if (waited >= (all ? kLanesTimeout : kNoLanesTimeout)) {
      return fail(ErrorKind::kPeerLost,
                  fmt::format("only {} of the source's {} lanes arrived here", have.size(), count));
    }
    changed_.wait_for(lock, kClockLook);
  }
  std::ranges::sort(have, {}, &GreetedLane::number);
  return have;
}

Status Broker::collect_lanes(const wire::Secret& secret, unsigned count, std::vector<GreetedLane>& have) {
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

Result<GreetedSource> Broker::await_back(Session& session, Duration at_most, const std::stop_token& stop) {
  const auto deadline = clock_.now() + at_most;
  std::unique_lock lock(mutex_);
  while (!session.back) {
    TRY_IN("waiting for the source to come back", waiting_may_go_on(stop));
    if (clock_.now() >= deadline) return fail(ErrorKind::kTimedOut, "the source has not come back");
    changed_.wait_for(lock, kClockLook);
  }
  GreetedSource source = *std::move(session.back);
  session.back.reset();
  session.secret = source.secret;
  session.takes_lanes = true;
  return source;
}

void Broker::settle(Session& session, std::string why) {
  {
    const std::lock_guard lock(mutex_);
    session.refusal = std::move(why);
  }
  greeter_.look_again();
}

void Broker::leave_word(Session& session, std::string why, Duration at_most) {
  {
    const std::lock_guard lock(mutex_);
    if (!session.proof) return;
    words_.push_back({*session.proof, why, clock_.now() + at_most, session.back.has_value()});
    if (words_.size() > kMostWords) words_.pop_front();
    session.proof.reset();
    session.on_back = nullptr;
    if (session.back) {
      leaving_.push_back(with_answer(*std::move(session.back), std::move(why)));
      session.back.reset();
    }
  }
  greeter_.look_again();
}

void Broker::await_word_told(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  const auto waits = [this](const LeftWord& word) { return !word.told && clock_.now() < word.until; };
  while (!stop.stop_requested() && !ended_ && (!leaving_.empty() || std::ranges::any_of(words_, waits))) {
    changed_.wait_for(lock, kClockLook);
  }
}

void Broker::free(std::list<Session>::iterator session) {
  {
    const std::lock_guard lock(mutex_);
    sessions_.erase(session);
  }
  changed_.notify_all();
}

// ---- who comes

const Broker::Session* Broker::session_of(const wire::Secret& secret) const {
  const auto found =
      std::ranges::find_if(sessions_, [&](const Session& s) { return wire::same_secret(s.secret, secret); });
  return found == sessions_.end() ? nullptr : &*found;
}

bool Broker::is_closed_to(const wire::Secret& secret) const {
  const Session* const session = session_of(secret);
  if (session == nullptr) return refusal().has_value();
  return session->refusal && !session->takes_lanes;
}

/// Its word that it is the session's source is the session's first secret, which nobody else was ever shown. What it
/// opened earlier counts for nothing any more.
std::optional<TurnedAway> Broker::take_back(GreetedSource source) {
  const auto found = std::ranges::find_if(
      sessions_, [&](const Session& s) { return s.proof && wire::same_secret(*s.proof, *source.hello.rejoin); });
  if (found == sessions_.end()) {
    std::string why = why_not_back(*source.hello.rejoin);
    return with_answer(std::move(source), std::move(why));
  }
  if (source.hello.attempt <= found->attempt || session_of(source.secret) != nullptr || waits(source.secret)) {
    return with_answer(std::move(source), std::string(kBackSince));
  }
  found->attempt = source.hello.attempt;
  std::optional<TurnedAway> away;
  if (found->back) away = with_answer(*std::move(found->back), std::string(kBackSince));
  found->back = std::move(source);
  if (found->on_back) found->on_back();
  return away;
}

std::string Broker::why_not_back(const wire::Secret& proof) {
  const auto word = std::ranges::find_if(
      words_, [&](const LeftWord& w) { return wire::same_secret(w.proof, proof) && clock_.now() < w.until; });
  if (word == words_.end()) {
    return "no move waits here for its source to come back: it has been given up, or has gone too far";
  }
  word->told = true;
  return word->why;
}

bool Broker::waits(const wire::Secret& secret) const {
  return std::ranges::any_of(sources_,
                             [&](const WaitingSource& s) { return wire::same_secret(s.source.secret, secret); });
}

/// Why a source is refused that comes now; nothing as long as it may still get a place.
std::optional<std::string> Broker::refusal() const {
  const auto settled = [](const Session& s) { return s.refusal.has_value(); };
  if (sessions_.size() < places_ || !std::ranges::all_of(sessions_, settled)) return std::nullopt;
  if (places_ == 1) return sessions_.front().refusal;
  return fmt::format("{} other VMs are just being moved to this host, and there is room for no more", places_);
}

/// For one more lane of this session.
bool Broker::is_full_for(const wire::Secret& secret) const {
  if (lanes_.size() >= kMostLanesPerPlace * places_) return true;
  if (session_of(secret) != nullptr) return false;
  const auto without =
      std::ranges::count_if(lanes_, [&](const ParkedLane& l) { return session_of(l.secret) == nullptr; });
  return static_cast<std::size_t>(without) >= kMostLanesWithoutPlace;
}

/// Whoever serves one that has gone holds a hypervisor for nothing.
void Broker::drop_late_sources() {
  const auto now = clock_.now();
  while (!sources_.empty() && now - sources_.front().came >= kSourceTimeout) {
    leaving_.push_back(with_answer(std::move(sources_.front().source), std::string(kNoPlaceInTime)));
    sources_.pop_front();
  }
}

std::vector<TurnedAway> Broker::take_source(GreetedSource source) {
  std::vector<TurnedAway> away;
  {
    const std::lock_guard lock(mutex_);
    if (source.hello.rejoin) {
      if (auto one = take_back(std::move(source))) away.push_back(*std::move(one));
    } else if (auto why = refusal()) {
      away.push_back(with_answer(std::move(source), *std::move(why)));
    } else if (session_of(source.secret) != nullptr || waits(source.secret)) {
      away.push_back(with_answer(std::move(source), "this session has a control connection already"));
    } else if (sources_.size() >= kMostSourcesPerPlace * places_) {
      away.push_back(with_answer(std::move(source), std::string(kOthersWait)));
    } else {
      sources_.push_back({std::move(source), clock_.now()});
    }
  }
  changed_.notify_all();
  return away;
}

std::vector<TurnedAway> Broker::take_lane(GreetedLane lane, const wire::Secret& secret,
                                          const std::function<bool(const wire::Secret&)>& hello_comes) {
  std::vector<TurnedAway> away;
  {
    const std::lock_guard lock(mutex_);
    const auto expected = [&](const ParkedLane& l) {
      return session_of(l.secret) != nullptr || waits(l.secret) || hello_comes(l.secret);
    };
    if (is_closed_to(secret)) {
      away.push_back(silently(std::move(lane), kWrongSecret));
    } else {
      if (is_full_for(secret)) {
        if (const auto oldest = std::ranges::find_if_not(lanes_, expected); oldest != lanes_.end()) {
          away.push_back(silently(std::move(oldest->lane), kWrongSecret));
          lanes_.erase(oldest);
        }
      }
      if (is_full_for(secret)) {
        away.push_back(silently(std::move(lane), kOthersWait));
      } else {
        lanes_.push_back({std::move(lane), secret, clock_.now()});
      }
    }
  }
  changed_.notify_all();
  return away;
}

/// It would take the link from a VM that comes.
std::vector<TurnedAway> Broker::take_link_test(std::unique_ptr<Channel> channel) {
  bool busy = false;
  {
    const std::lock_guard lock(mutex_);
    busy = !sessions_.empty();
  }
  std::vector<TurnedAway> away;
  if (busy || !link_tests_.take(channel)) {
    away.push_back({std::move(channel), "the link is not measured while a VM comes here, or others measure it", false});
  }
  return away;
}

std::vector<TurnedAway> Broker::clear_out() {
  std::vector<TurnedAway> away;
  const std::lock_guard lock(mutex_);
  const auto why = refusal();
  if (why) {
    for (WaitingSource& one : sources_) away.push_back(with_answer(std::move(one.source), *why));
    sources_.clear();
  }
  drop_late_sources();
  std::ranges::move(leaving_, std::back_inserter(away));
  leaving_.clear();
  const auto now = clock_.now();
  const auto stays = [&](const ParkedLane& lane) {
    return !is_closed_to(lane.secret) && now - lane.came < kLanesTimeout;
  };
  for (ParkedLane& lane : lanes_) {
    if (!stays(lane)) away.push_back(silently(std::move(lane.lane), kWrongSecret));
  }
  std::erase_if(lanes_, [](const ParkedLane& lane) { return !lane.lane.channel; });
  return away;
}

bool Broker::some_wait() const {
  const std::lock_guard lock(mutex_);
  return !lanes_.empty() || !sources_.empty() || !leaving_.empty();
}

void Broker::listening_ended(const Error& error) {
  {
    const std::lock_guard lock(mutex_);
    ended_ = error;
  }
  changed_.notify_all();
}

}  // namespace godwit
