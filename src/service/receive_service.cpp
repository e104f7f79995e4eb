#include "service/receive_service.h"

#include <fmt/format.h>

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

Status ReceiveService::run(const std::stop_token& stop) {
  const auto listener = TRY(listen_on(request_.listen));
  if (hooks_.on_listening) hooks_.on_listening(listener->address());
  const auto note = [this](std::string_view text) {
    const std::lock_guard lock(mutex_);
    if (hooks_.on_note) hooks_.on_note(text);
  };
  Broker broker(*listener, clock_, request_.at_once, note, request_.tls ? tls_accepted(request_.tls) : Wrap{});
  Status ended;
  while (!stop.stop_requested()) {
    end_those_that_are_over();
    auto place = broker.await_source(kLookAround, stop);
    if (place) {
      serve(*listener, std::move(*place));
    } else if (place.error().kind != ErrorKind::kTimedOut && place.error().kind != ErrorKind::kCancelled) {
      ended = fail(std::move(place).error());
      break;
    }
  }
  for (const auto& job : jobs_) job->cancel();
  for (const auto& job : jobs_) (void)job->wait();
  end_those_that_are_over();
  return ended;
}

void ReceiveService::serve(Listener& listener, Broker::Place place) {
  auto open = request_.open_for(place.source().hello.fingerprint.vm_name);
  ReceiveHooks hooks;
  hooks.on_milestone = hooks_.on_milestone;
  hooks.on_note = [this](std::string_view text) {
    const std::lock_guard lock(mutex_);
    if (hooks_.on_note) hooks_.on_note(text);
  };
  jobs_.push_back(std::make_unique<ReceiveJob>(
      ReceiveRequest{.open = open ? std::move(*open) : [why = open.error()](const JobContext&)
                         -> Result<std::unique_ptr<OpenedSink>> { return fail(why); },
                     .listen = request_.listen,
                     .lenience = request_.lenience,
                     .start_timeout = request_.start_timeout,
                     .program = request_.program,
                     .placed = PlacedSource{listener, std::move(place)}},
      std::move(hooks), log_for_job_(), host_, clock_));
}

void ReceiveService::end_those_that_are_over() {
  for (auto job = jobs_.begin(); job != jobs_.end();) {
    if (!(*job)->ended()) {
      ++job;
      continue;
    }
    const SinkReport report = (*job)->wait();
    job = jobs_.erase(job);
    const std::lock_guard lock(mutex_);
    if (hooks_.on_report) hooks_.on_report(report);
  }
}

}  // namespace godwit
