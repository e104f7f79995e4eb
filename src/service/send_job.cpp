#include "service/send_job.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/migration_id.h"
#include "engine/source.h"
#include "memory/kernels.h"
#include "net/connect.h"
#include "net/rate_limit.h"
#include "service/accelerator_choice.h"
#include "service/wiring.h"
#include "tls/tls_channel.h"
#include "wire/limits.h"

namespace godwit {

namespace {

/// Every channel of the migration goes to one of the addresses that a name has, encrypted if there is TLS, and through
/// one rate limit, if there is one.
struct Dialler {
  Connect connect;
  std::shared_ptr<RateLimit> limit;
  Result<std::unique_ptr<Channel>> operator()() const {
    auto channel = TRY(connect());
    return limit ? limit_rate(std::move(channel), limit) : std::move(channel);
  }
};

}  // namespace

SendJob::SendJob(SendRequest request, SendHooks hooks, Log log, const HostProfile& host, const Clock& clock)
    : request_(std::move(request)),
      hooks_(std::move(hooks)),
      log_(std::move(log)),
      host_(host),
      clock_(clock),
      id_(random_migration_id().value_or("")),
      steering_(request_.goals),
      progress_log_(log_),
      thread_([this](std::stop_token cancelled) { return run(std::move(cancelled)); }) {}

Report SendJob::run(std::stop_token cancelled) {
  name_thread(id(), "send");
  log_.begin_migration(id());
  log_.info("start", {{"program", request_.program},
                      {"command", "send"},
                      {"to", format_address(request_.to)},
                      {"max_downtime", request_.goals.max_downtime},
                      {"timeout", request_.goals.timeout},
                      {"lanes", request_.goals.lanes},
                      {"kernel", host_.kernel_release}});
  Outcome outcome = request_.resumes ? Outcome::kIncomplete : Outcome::kSourceRuns;
  auto result = migrate(std::move(cancelled), outcome);
  Report report;
  if (result) {
    report = std::move(*result);
  } else {
    // Nothing had begun: the VM is as it was.
    report.outcome = outcome;
    report.given_before = outcome == Outcome::kInDoubt;
    report.error = std::move(result).error();
  }
  tell_outcome(report);
  return report;
}

Result<Report> SendJob::migrate(std::stop_token cancelled, Outcome& outcome) {
  if (id().empty()) return fail(ErrorKind::kIo, "the migration's id could not be made: no random bytes");
  const JobContext context{.clock = clock_,
                           .on_note = logged(log_, hooks_.on_note),
                           .on_milestone = logged(log_, hooks_.on_milestone),
                           .on_guest_start = {},
                           .cancelled = cancelled};
  TRY(check_source_host(host_));
  const Kernels* kernels = &best_kernels(host_);
  if (!request_.kernels.empty()) kernels = TRY(kernels_by_name(request_.kernels, host_));
  const auto source = TRY(request_.open(context, outcome));
  Journal& journal = source->journal();
  TRY(check_journal(*source));
  Goals goals = request_.goals;
  if (source->resumes()) {
    goals.link_patience = {};
    goals.on_deadline = OnDeadline::kPostcopy;
    goals.lanes = std::min(goals.lanes, static_cast<unsigned>(wire::kMaxLanes) - 1);
  }
  const auto& fingerprint = source->vm().fingerprint();
  log_.info("vm", {{"name", fingerprint.vm_name},
                   {"hypervisor", fingerprint.hypervisor},
                   {"version", fingerprint.version},
                   {"ram_bytes", source->vm().memory().layout().bytes()},
                   {"cpus", fingerprint.cpus},
                   {"paused", source->vm().starts_paused()},
                   {"quiesce_harvests", source->quiesce_harvests()}});

  const Wrap wrap = request_.tls ? tls_connected(request_.tls) : Wrap{};
  Connect plain = request_.connect;
  Reconnect reconnect;
  if (!plain) {
    const auto route = std::make_shared<Route>(request_.to);
    plain = [route] { return route->connect(); };
    reconnect = reconnecting(route, wrap);
  }
  Dialler dialler{wrapped(plain, wrap), nullptr};
  if (request_.goals.bandwidth || goals.may_postcopy() || request_.steerable) {
    dialler.limit = std::make_shared<RateLimit>(request_.goals.bandwidth.value_or(BitRate{}), clock_);
  }
  const HashKey hash_key = TRY(random_hash_key());
  encoding_.emplace(request_.goals.encoding_threads, request_.goals.lanes, source->vcpu_threads(), clock_);
  open_accelerator_for(goals, context.on_note);
  if (!source->resumes()) {
    TRY(journal.name_migration(id()));
    TRY(journal.begin());
  }
  Report moved = run_source(SourceParts{
      .vm = source->vm(),
      .tracker = source->tracker(),
      .journal = journal,
      .clock = clock_,
      .kernels = *kernels,
      .encoders = accelerated_ ? static_cast<EncoderProvider&>(*accelerated_) : encoding_->encoders(),
      .hash_key = hash_key,
      .connect = dialler,
      .goals = goals,
      .steering = request_.steerable ? &steering_ : nullptr,
      .connect_urgent = dialler.connect,
      .reconnect = std::move(reconnect),
      .slow_guest = [&source](double share) { return source->slow_guest(share); },
      .lift_slowdown = [&source] { return source->lift_slowdown(); },
      .free_pages = source->free_pages(),
      .quiesce_harvests = source->quiesce_harvests(),
      .holes_may_appear = source->holes_may_appear(),
      .lift_rate_limit =
          [limit = dialler.limit] {
            if (limit) limit->lift();
          },
      .pace_lanes =
          [limit = dialler.limit](double bytes_per_second) {
            if (limit) limit->pace(bytes_per_second);
          },
      .impose_rate_limit =
          [limit = dialler.limit] {
            if (limit) limit->impose();
          },
      .change_rate_limit =
          [limit = dialler.limit](std::optional<BitRate> rate) {
            if (limit) limit->change(rate.value_or(BitRate{}));
          },
      .limit_rate =
          [limit = dialler.limit](std::unique_ptr<Channel> channel) {
            return limit ? limit_rate(std::move(channel), limit) : std::move(channel);
          },
      .on_progress = [this](const Progress& progress) { show(progress); },
      .on_milestone =
          [this, told = context.on_milestone](Milestone milestone) {
            if (milestone == Milestone::kHandingOver) encoding_->settle();
            if (told) told(milestone);
          },
      .on_note = context.on_note,
      .on_moved = [this](Report report) { tell_outcome(report); },
      .cancelled = std::move(cancelled),
      .program = request_.program,
      .id = id(),
      .resumes = source->resumes(),
      .log = log_,
  });
  encoding_threads_ = encoding_->use().most_at_work;
  if (accelerated_) accelerator_ = AcceleratorReport{accelerated_->facts(), accelerated_->use()};
  accelerated_.reset();
  encoding_.reset();
  return moved;
}

/// Where a device cannot be used CPUs encode, and the guest is moved all the same.
void SendJob::open_accelerator_for(Goals& goals, const SayNote& note) {
  if (!goals.codec) return offer_accelerator(note);
  if (goals.codec->device == CodecDevice::kCpu) return;
  auto opened =
      open_accelerator(goals.codec->device, setting_of(goals.codec->device, false, host_.accelerator_devices));
  if (!opened) {
    why_no_accelerator_ =
        fmt::format("{} is not used, and CPUs encode (auto): {}", format_codec(*goals.codec), opened.error().message);
    goals.codec.reset();
    return note(why_no_accelerator_);
  }
  accelerated_.emplace(std::move(*opened), encoding_->encoders(), note);
  note(fmt::format("blocks are encoded by {}", accelerated_->facts().text()));
}

/// With `auto`: where the kernel shows a device that is set up, the governor may choose it. Never a model.
void SendJob::offer_accelerator(const SayNote& note) {
  for (const AcceleratorDevice& device : host_.accelerator_devices) {
    if (!device.to_do.empty()) continue;
    const CodecDevice kind = device.name.starts_with("qat") ? CodecDevice::kQat : CodecDevice::kIaa;
    auto opened = open_accelerator(kind, setting_of(kind, false, host_.accelerator_devices));
    if (!opened || !(*opened)->facts().model.empty()) continue;
    accelerated_.emplace(std::move(*opened), encoding_->encoders(), note);
    return accelerated_->offer(kind);
  }
}

Status SendJob::check_journal(OpenedSource& source) {
  const Journal& journal = source.journal();
  if (!source.resumes()) {
    if (journal.found() == Journal::State::kNone) return {};
    return fail(ErrorKind::kRefused, "another godwit has just worked on this VM: look at it with `godwit probe`");
  }
  resumed_id_.change([&](std::string& id) { id = journal.left().id; });
  log_.begin_migration(id());
  return {};
}

void SendJob::show(const Progress& progress) {
  Progress named = progress;
  named.id = id();
  if (accelerated_) named.accelerator = accelerated_->facts().text(accelerated_->use());
  progress_log_.add(named);
  progress_.change([&](std::optional<Progress>& latest) { latest = named; });
  if (hooks_.on_progress) hooks_.on_progress(named);
}

void SendJob::tell_outcome(Report& report) {
  report.id = id();
  report.accelerator = accelerator_;
  if (accelerated_) report.accelerator = AcceleratorReport{accelerated_->facts(), accelerated_->use()};
  if (report.accelerator) {
    for (CodecShare& share : report.codecs) share.codec = report.accelerator->facts.name_of_codec(share.codec);
    report.codec = report.accelerator->facts.name_of_codec(report.codec);
  }
  report.why_no_accelerator = why_no_accelerator_;
  report.encoding_threads = encoding_ ? encoding_->use().most_at_work : encoding_threads_;
  if (std::exchange(told_, true)) return;
  log_end(log_, report);
  if (hooks_.on_outcome) hooks_.on_outcome(report);
}

}  // namespace godwit
