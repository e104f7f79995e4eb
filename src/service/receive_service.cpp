#include "service/receive_service.h"

#include <fmt/format.h>

#include "base/without_exceptions.h"
#include "service/job_log.h"
#include "tls/tls_channel.h"

namespace godwit {

namespace {
// How often jobs that are over are looked for.
constexpr Duration kLookAround = std::chrono::milliseconds(200);
}  // namespace

ReceiveService::ReceiveService(ReceiveServiceRequest request, ReceiveServiceHooks hooks,
                               std::function<Log()> log_for_job, const HostProfile& host, const Clock& clock)
    : request_(std::move(request)),
      hooks_(std::move(hooks)),
      log_for_job_(std::move(log_for_job)),
      host_(host),
      clock_(clock) {}

std::string name_of_move(const std::string& vm_name, const std::string& id) {
  return id.empty() ? fmt::format("VM '{}'", vm_name) : fmt::format("VM '{}' ({})", vm_name, id);
}

Status ReceiveService::run(const std::stop_token& stop) {
  const auto listener = TRY(listen_on(request_.listen));
  // Of those who come and are turned away no job tells.
  const Log log = log_for_job_();
  log.info("listening", {{"at", format_address(listener->address())}});
  if (hooks_.on_listening) hooks_.on_listening(listener->address());
  Broker broker(*listener, clock_, request_.at_once, logged(log, [this](std::string_view text) { note(text); }),
                request_.tls ? tls_accepted(request_.tls) : Wrap{});
  Status ended;
  while (!stop.stop_requested()) {
    end_those_that_are_over();
    auto place = broker.await_source(kLookAround, stop);
    if (place) {
      end_those_that_are_over();
      serve(*listener, std::move(*place));
    } else if (place.error().kind != ErrorKind::kTimedOut && place.error().kind != ErrorKind::kCancelled) {
      ended = fail(std::move(place).error());
      break;
    }
  }
  for (const Served& one : served_) one.job->cancel();
  for (const Served& one : served_) (void)one.job->wait();
  end_those_that_are_over();
  return ended;
}

void ReceiveService::note(std::string_view text) {
  const std::lock_guard lock(mutex_);
  if (hooks_.on_note) hooks_.on_note(text);
}

Result<WaitingPlace> ReceiveService::place_for(const std::string& vm_name) const {
  auto found = TRY(request_.open_for(vm_name));
  for (const Served& one : served_) {
    if (one.where == found.where) return fail(ErrorKind::kRefused, "another VM is just being moved to this QEMU");
  }
  return found;
}

/// A host that gives no further thread must not end the moves that are under way.
void ReceiveService::serve(Listener& listener, Broker::Place place) {
  const wire::Hello& hello = place.source().hello;
  const std::string name = name_of_move(hello.fingerprint.vm_name, hello.id);
  auto found = place_for(hello.fingerprint.vm_name);
  ReceiveHooks hooks;
  hooks.on_milestone = hooks_.on_milestone;
  hooks.on_note = [this, name](std::string_view text) { note(fmt::format("{}: {}", name, text)); };
  const std::string where = found ? found->where : std::string();
  OpenSink open =
      found ? std::move(found->open)
            : [why = found.error()](const JobContext&) -> Result<std::unique_ptr<OpenedSink>> { return fail(why); };
  const Status started = without_exceptions([&]() -> Status {
    auto job = std::make_unique<ReceiveJob>(ReceiveRequest{.open = std::move(open),
                                                           .listen = request_.listen,
                                                           .lenience = request_.lenience,
                                                           .start_timeout = request_.start_timeout,
                                                           .decoder = request_.decoder,
                                                           .program = request_.program,
                                                           .placed = PlacedSource{listener, std::move(place)}},
                                            std::move(hooks), log_for_job_(), host_, clock_);
    served_.push_back({where, std::move(job)});
    return {};
  });
  if (!started) note(fmt::format("{}: it could not be taken in: {}", name, started.error().message));
}

void ReceiveService::end_those_that_are_over() {
  for (auto one = served_.begin(); one != served_.end();) {
    if (!one->job->ended()) {
      ++one;
      continue;
    }
    const SinkReport report = one->job->wait();
    one = served_.erase(one);
    const std::lock_guard lock(mutex_);
    if (hooks_.on_report) hooks_.on_report(report);
  }
}

}  // namespace godwit
