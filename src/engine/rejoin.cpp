#include "engine/rejoin.h"

#include <fmt/format.h>

#include "base/cpu_account.h"
#include "base/migration_id.h"
#include "engine/open_lanes.h"

namespace godwit {

namespace {
// A sink that is there answers as soon as its old lanes have ended.
constexpr Duration kRejoinPatience = std::chrono::seconds(10);
// A link that is back is not to be waited for much longer, and a host that refuses at once is not to be flooded.
constexpr Duration kTryAgainAfter = std::chrono::milliseconds(300);

/// The sink has said that there is no way back. Whoever else answers at its address may be gone the next time.
bool is_final(const Error& error) noexcept {
  return error.at_peer && error.kind == ErrorKind::kRefused;
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
  thread_.request_stop();
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    if (control_ != nullptr) control_->abort();
  }
  thread_.join();
}

std::optional<Result<Rejoined>> Rejoin::take() {
  std::optional<Result<Rejoined>> found;
  found_.change([&](std::optional<Result<Rejoined>>& there) { found.swap(there); });
  return found;
}

void Rejoin::run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    auto tried = once();
    if (tried || is_final(tried.error())) {
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

Result<Rejoined> Rejoin::once() {
  struct Release {
    Rejoin& of;
    ~Release() {
      const std::lock_guard lock(of.mutex_);
      of.control_ = nullptr;
    }
  };
  Rejoined found;
  found.control = TRY(parts_.connect());
  {
    const std::lock_guard lock(mutex_);
    if (stopped_) return fail(ErrorKind::kCancelled, "nobody waits for it any more");
    control_ = found.control.get();
  }
  const Release release{*this};
  const auto secret = TRY(wire::random_secret());
  const auto until = Deadline::in(kRejoinPatience);
  wire::Hello hello = wanted_.hello;
  hello.attempt = ++attempt_;
  TRY(wire::send_greeting(*found.control, {.role = wire::Role::kControl, .secret = secret}));
  wire::ControlConnection control(*found.control, kRejoinPatience);
  TRY(control.send(hello, until));
  const auto answer = TRY_IN("no answer from the destination", control.receive(until));
  if (const auto* refusal = std::get_if<wire::Refusal>(&answer)) {
    return fail(Error{.kind = ErrorKind::kRefused,
                      .message = "the destination does not take this side back: " + refusal->reason,
                      .at_peer = true});
  }
  const auto* welcome = std::get_if<wire::Welcome>(&answer);
  if (welcome == nullptr || !welcome->rejoin) {
    return fail(ErrorKind::kRefused, "another destination has answered than the one that has the guest's memory");
  }
  const unsigned lanes = hello.lanes - (wanted_.urgent ? 1U : 0U);
  auto opened = TRY(open_lanes(parts_.connect, secret, lanes));
  if (opened.channels.size() < lanes) {
    return fail(ErrorKind::kPeerLost, fmt::format("not all lanes could be opened again ({})", opened.failures));
  }
  found.lanes = std::move(opened.channels);
  if (!wanted_.urgent) return found;
  found.urgent =
      TRY_IN("the connection for urgent pages", parts_.connect_urgent ? parts_.connect_urgent() : parts_.connect());
  TRY(wire::send_greeting(*found.urgent,
                          {.role = wire::Role::kLane, .lane = static_cast<std::uint16_t>(lanes), .secret = secret}));
  return found;
}

}  // namespace godwit
