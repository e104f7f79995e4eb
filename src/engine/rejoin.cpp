#include "engine/rejoin.h"

#include <fmt/format.h>

#include "base/cpu_account.h"
#include "base/migration_id.h"
#include "base/without_exceptions.h"
#include "engine/alarm.h"
#include "engine/open_lanes.h"

namespace godwit {

namespace {
// A sink that is there answers as soon as its old lanes have ended.
constexpr Duration kRejoinPatience = std::chrono::seconds(10);
// A link that is back is not to be waited for much longer, and a host that refuses at once is not to be flooded.
constexpr Duration kTryAgainAfter = std::chrono::milliseconds(300);

constexpr Duration kLongerThanAnyChange = std::chrono::hours(1);

/// The sink has said that there is no way back. Whoever else answers at its address may be gone the next time, and who
/// answers at another address of its name may be another host.
bool is_final(const Error& error) noexcept {
  return error.at_peer && error.kind == ErrorKind::kRefused;
}

Result<std::unique_ptr<Channel>> connect_again(const SourceParts& parts, Whereto where, const std::stop_token& stop) {
  if (!parts.reconnect) return parts.connect();
  auto channel = TRY(parts.reconnect(where, stop));
  return parts.limit_rate ? parts.limit_rate(std::move(channel)) : std::move(channel);
}

Result<std::unique_ptr<Channel>> connect_urgent_again(const SourceParts& parts, const std::stop_token& stop) {
  if (parts.reconnect) return parts.reconnect(Whereto::kAsBefore, stop);
  return parts.connect_urgent ? parts.connect_urgent() : parts.connect();
}

Status say_goodbye_on(Channel& channel, const wire::Hello& hello, const wire::Abort& why) {
  const auto secret = TRY(wire::random_secret());
  TRY(wire::send_greeting(channel, {.role = wire::Role::kControl, .secret = secret}));
  wire::ControlConnection control(channel, kRejoinPatience);
  TRY(control.send(hello));
  TRY(control.send(why));
  TRY(channel.shut_down());
  while (true) (void)TRY(control.receive());  // until the sink has closed it: it has read what was sent
}
}  // namespace

Rejoin::Rejoin(const SourceParts& parts, Wanted wanted)
    : parts_(parts),
      wanted_(std::move(wanted)),
      attempt_(wanted_.hello.attempt),
      thread_(job_thread([this](const std::stop_token& stop) {
        name_thread(parts_.id, "rejoin");
        run(stop);
      })) {}

Rejoin::~Rejoin() {
  (void)end();
}

std::uint32_t Rejoin::end() {
  thread_.request_stop();
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    if (control_ != nullptr) control_->abort();
  }
  if (thread_.joinable()) thread_.join();
  return attempt_;
}

std::optional<Result<Rejoined>> Rejoin::take() {
  std::optional<Result<Rejoined>> found;
  found_.change([&](std::optional<Result<Rejoined>>& there) { found.swap(there); });
  return found;
}

void Rejoin::run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    auto tried = without_exceptions([&] { return once(stop); });
    if (tried || is_final(tried.error()) || wanted_.hello.changes_lanes) {
      found_.change([&](std::optional<Result<Rejoined>>& there) { there.emplace(std::move(tried)); });
      return;
    }
    latest_.change([&](std::string& latest) { latest = tried.error().message; });
    parts_.log.info("rejoin", {{"attempt", attempt_.load()}, {"reason", tried.error().message}});
    std::mutex mutex;
    std::condition_variable_any stopped;
    std::unique_lock lock(mutex);
    stopped.wait_for(lock, stop, kTryAgainAfter, [] { return false; });
  }
}

void Rejoin::say_hello() {
  may_say_hello_.change([](bool& may) { may = true; });
}

Result<Rejoined> Rejoin::once(const std::stop_token& stop) {
  struct Release {
    Rejoin& of;
    ~Release() {
      const std::lock_guard lock(of.mutex_);
      of.control_ = nullptr;
    }
  };
  Opened opened;
  TRY(connect_control(opened, stop));
  if (wanted_.hello.changes_lanes) {
    TRY(connect_lanes(opened, stop));
    TRY(await_word(stop));
  }
  {
    const std::lock_guard lock(mutex_);
    if (stopped_) return fail(ErrorKind::kCancelled, "nobody waits for it any more");
    control_ = opened.control.get();
  }
  const auto secret = TRY(wire::random_secret());
  {
    const Release release{*this};
    TRY(be_welcomed(opened, secret));
    if (!wanted_.hello.changes_lanes) TRY(connect_lanes(opened, stop));
  }
  return greet(std::move(opened), secret);
}

/// Another host of the same name, which has another address, would be shown what only the sink is to see.
Status Rejoin::connect_control(Opened& opened, const std::stop_token& stop) const {
  auto channel = connect_again(parts_, Whereto::kAsAtFirst, stop);
  opened.as_at_first = channel.has_value();
  const bool any_address_will_do = !wanted_.hello.changes_lanes;
  if (!channel && any_address_will_do && !stop.stop_requested()) {
    channel = connect_again(parts_, Whereto::kAnyAddress, stop);
  }
  opened.control = TRY(std::move(channel));
  return {};
}

Status Rejoin::connect_lanes(Opened& opened, const std::stop_token& stop) const {
  opened.lanes = connect_side_by_side([&] { return connect_again(parts_, Whereto::kAsBefore, stop); }, lanes());
  if (wanted_.urgent) opened.urgent = TRY_IN("the connection for urgent pages", connect_urgent_again(parts_, stop));
  // Before anything has been said no number of lanes but the whole is worth it.
  for (const auto& lane : opened.lanes) {
    if (!lane && wanted_.hello.changes_lanes) return fail(lane.error());
  }
  return {};
}

Status Rejoin::await_word(const std::stop_token& stop) {
  const std::stop_callback on_stop(stop, [this] { say_hello(); });
  open_ = true;
  const bool may = may_say_hello_.await([](bool is_told) { return is_told; }, kLongerThanAnyChange);
  if (may && !stop.stop_requested()) return {};
  return fail(ErrorKind::kCancelled, "nobody waits for it any more");
}

Status Rejoin::be_welcomed(const Opened& opened, const wire::Secret& secret) {
  const auto until = Deadline::in(kRejoinPatience);
  wire::Hello hello = wanted_.hello;
  hello.attempt = ++attempt_;
  TRY(wire::send_greeting(*opened.control, {.role = wire::Role::kControl, .secret = secret}));
  wire::ControlConnection control(*opened.control, kRejoinPatience);
  TRY(control.send(hello, until));
  const auto answer = TRY_IN("no answer from the destination", control.receive(until));
  if (const auto* refusal = std::get_if<wire::Refusal>(&answer)) {
    return fail(Error{.kind = ErrorKind::kRefused,
                      .message = "the destination does not take this side back: " + refusal->reason,
                      .at_peer = opened.as_at_first});
  }
  const auto* welcome = std::get_if<wire::Welcome>(&answer);
  if (welcome != nullptr && welcome->rejoin) return {};
  return fail(ErrorKind::kRefused, "another destination has answered than the one that has the guest's memory");
}

Result<Rejoined> Rejoin::greet(Opened opened, const wire::Secret& secret) const {
  Rejoined found{.control = std::move(opened.control), .lanes = {}, .urgent = std::move(opened.urgent)};
  auto greeted = TRY(greet_lanes(std::move(opened.lanes), secret));
  if (greeted.channels.size() < lanes()) {
    return fail(ErrorKind::kPeerLost, fmt::format("not all lanes could be opened again ({})", greeted.failures));
  }
  found.lanes = std::move(greeted.channels);
  if (!found.urgent) return found;
  TRY(wire::send_greeting(*found.urgent,
                          {.role = wire::Role::kLane, .lane = static_cast<std::uint16_t>(lanes()), .secret = secret}));
  return found;
}

void say_late_goodbye(const SourceParts& parts, wire::Hello hello, const wire::Abort& why, Duration at_most) {
  const SteadyClock clock;
  std::stop_source late;
  const Alarm alarm(clock, at_most, [&late] { late.request_stop(); });
  // An operator who has cancelled before waits for no more than this.
  const auto cancelled = parts.cancelled.stop_requested() ? std::stop_token{} : parts.cancelled;
  const std::stop_callback on_cancel(cancelled, [&late] { late.request_stop(); });
  hello.gives_up = true;
  const auto channel = connect_again(parts, Whereto::kAsAtFirst, late.get_token());
  if (!channel) return parts.log.info("late-goodbye", {{"reason", channel.error().message}});
  const std::stop_callback on_late(late.get_token(), [&channel] { (*channel)->abort(); });
  const Status said = say_goodbye_on(**channel, hello, why);
  parts.log.info("late-goodbye", {{"reason", said.error().message}});
}

}  // namespace godwit
