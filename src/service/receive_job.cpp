#include "service/receive_job.h"

#include <fmt/format.h>

#include <array>
#include <optional>

#include "base/migration_id.h"
#include "base/units.h"
#include "base/without_exceptions.h"
#include "codec/accelerated_decoders.h"
#include "memory/kernels.h"
#include "net/channel.h"
#include "service/accelerator_choice.h"
#include "service/job_log.h"
#include "tls/tls_channel.h"
#include "wire/control.h"

namespace godwit {

namespace {

// The guest is paused meanwhile. As a rule it takes a few milliseconds.
constexpr Duration kSlowStart = std::chrono::milliseconds(50);
// For a source to read why it is refused.
constexpr Duration kRefusalTimeout = std::chrono::seconds(2);

void refuse(PlacedSource& placed, const Error& why) {
  Channel& control = *placed.place.source().control;
  (void)wire::ControlConnection(control).send(wire::Refusal{why.message}, Deadline::in(kRefusalTimeout));
  (void)control.shut_down();
  // Closed with bytes unread, the connection would take back what the source has not read yet.
  std::array<std::byte, 256> unread;
  const auto until = Deadline::in(kRefusalTimeout);
  while (!until.over() && control.read(unread, 1, until)) {
  }
}

}  // namespace

ReceiveJob::ReceiveJob(ReceiveRequest request, ReceiveHooks hooks, Log log, const HostProfile& host, const Clock& clock)
    : request_(std::move(request)),
      hooks_(std::move(hooks)),
      log_(std::move(log)),
      host_(host),
      clock_(clock),
      vm_name_(request_.placed ? request_.placed->place.source().hello.fingerprint.vm_name : ""),
      thread_([this](std::stop_token cancelled) { return run(std::move(cancelled)); }) {}

void ReceiveJob::cancel(const std::string& why) {
  why_cancelled_.change([&](std::string& kept) {
    if (kept.empty()) kept = why;
  });
  thread_.cancel();
}

SinkReport ReceiveJob::run(std::stop_token cancelled) {
  name_thread("", "receive");
  log_.info("start",
            {{"program", request_.program},
             {"command", "receive"},
             {"listen", format_address(request_.placed ? request_.placed->listener.address() : request_.listen)},
             {"timeout", request_.timeout},
             {"kernel", host_.kernel_release}});
  auto result = without_exceptions([&] { return migrate(std::move(cancelled)); });
  SinkReport report;
  if (result) {
    report = std::move(*result);
  } else {
    report.error = std::move(result).error();
    report.vm_name = vm_name_;
    // Where nothing is lacking that is what was found.
    if (request_.resumes && report.error->kind != ErrorKind::kNotFound) report.outcome = Outcome::kIncomplete;
  }
  if (report.id.empty()) report.id = source_id_.look();
  log_end(log_, report);
  return report;
}

Result<SinkReport> ReceiveJob::migrate(std::stop_token cancelled) {
  const JobContext context{.clock = clock_,
                           .on_note = logged(log_, hooks_.on_note),
                           .on_milestone = logged(log_, hooks_.on_milestone),
                           .on_guest_start = [this](const GuestStart& start) { start_ = start; },
                           .cancelled = cancelled};
  if (request_.placed) source_id_.change([&](std::string& kept) { kept = request_.placed->place.source().hello.id; });
  auto opened = request_.open(context);
  if (!opened) {
    if (request_.placed) refuse(*request_.placed, opened.error());
    request_.placed.reset();
    return fail(std::move(opened).error());
  }
  const auto sink = std::move(*opened);
  Journal& journal = sink->journal();
  std::unique_ptr<Listener> own_listener;
  if (!request_.placed) {
    own_listener = TRY(listen_on(request_.listen));
    log_.info("listening", {{"at", format_address(own_listener->address())}, {"vm", sink->fingerprint().vm_name}});
    if (hooks_.on_listening) hooks_.on_listening(own_listener->address());
  }
  NoLateDecoders cpu;
  std::optional<AcceleratedDecoders> accelerated;
  if (request_.decoder != CodecDevice::kCpu) {
    const auto setting = setting_of(request_.decoder, true, host_.accelerator_devices);
    if (auto opened_device = open_accelerator(request_.decoder, setting)) {
      accelerated.emplace(std::move(*opened_device));
      context.on_note(fmt::format("deflate is decoded by {}", accelerated->facts().text()));
    } else {
      context.on_note(fmt::format("CPUs decode, because {}", opened_device.error().message));
    }
  }
  SinkParts parts{
      .listener = request_.placed ? request_.placed->listener : *own_listener,
      .journal = journal,
      .fingerprint = sink->fingerprint(),
      .open_vm = [&](const Fingerprint& source, DeviceWay offered) { return sink->open_vm(source, offered); },
      .clock = clock_,
      .kernels = best_kernels(host_),
      .decoders = accelerated ? static_cast<DecoderProvider&>(*accelerated) : cpu,
      .lenience = request_.lenience,
      .match_samples = sink->match_samples(),
      .patience = request_.timeout,
      .start_patience = request_.start_timeout,
      .on_milestone = context.on_milestone,
      .on_note = context.on_note,
      .cancelled = std::move(cancelled),
      .why_cancelled = [&] { return why_cancelled_.look(); },
      .program = request_.program,
      .on_source =
          [&](std::string_view id) {
            source_id_.change([&](std::string& kept) { kept = id; });
            log_.begin_migration(id);
            name_thread(id, "receive");
            if (!id.empty() && !sink->lacking())
              (void)journal.name_migration(id);  // a name only: the move does not fail for it
          },
      .log = log_,
      .wrap = request_.tls ? tls_accepted(request_.tls) : Wrap{},
  };
  SinkReport report = take_in(std::move(parts), sink->lacking());
  if (accelerated) report.accelerator = AcceleratorReport{accelerated->facts(), accelerated->use()};
  note_slow_start(context, report);
  // In doubt, the record stays: whoever looks at this QEMU with `godwit probe` is told what it holds.
  if (report.outcome != Outcome::kInDoubt && report.outcome != Outcome::kIncomplete && !sink->conclude()) {
    report.paused = true;
  }
  return report;
}

SinkReport ReceiveJob::take_in(SinkParts parts, const LackingGuest* lacking) {
  if (lacking != nullptr) return resume_sink(std::move(parts), *lacking);
  if (request_.placed) return run_sink(parts, std::move(request_.placed->place));
  return run_sink(std::move(parts));
}

/// Where the time went, because it is part of the guest's pause: first the journal (and what else is done before the
/// hypervisor is asked, refused tries too), then the steps of the try that let it run.
void ReceiveJob::note_slow_start(const JobContext& context, const SinkReport& report) const {
  if (!start_ || report.outcome != Outcome::kDone) return;
  const Duration before = report.commit_to_resume - (start_->heard - start_->asked);
  const bool slow = report.commit_to_resume > kSlowStart;
  const LogFields steps{{"took", report.commit_to_resume},
                        {"before", before},
                        {"send", start_->sent - start_->asked},
                        {"run", start_->resumed - start_->sent},
                        {"hear", start_->heard - start_->resumed}};
  if (!slow) return log_.info("guest-started", steps);
  log_.warning("guest-started", steps);
  context.on_note(fmt::format(
      "the guest's start took {} after the commit: {} until QEMU was asked (the journal, refused tries), {} "
      "until `cont` was sent, {} until the guest ran, {} until that was heard",
      format_duration(report.commit_to_resume), format_duration(before), format_duration(start_->sent - start_->asked),
      format_duration(start_->resumed - start_->sent), format_duration(start_->heard - start_->resumed)));
}

}  // namespace godwit
