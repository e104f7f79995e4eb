#include "service/job_log.h"

namespace godwit {

SayNote logged(const Log& log, SayNote say) {
  return [log, say = std::move(say)](std::string_view text) {
    if (text.starts_with("warning")) {
      log.warning("note", {{"text", text}});
    } else {
      log.info("note", {{"text", text}});
    }
    if (say) say(text);
  };
}

OnMilestone logged(const Log& log, OnMilestone on_milestone) {
  return [log, on_milestone = std::move(on_milestone)](Milestone milestone) {
    log.info("milestone", {{"name", name_of(milestone)}});
    if (on_milestone) on_milestone(milestone);
  };
}

void ProgressLog::add(const Progress& progress) {
  if (progress.phase != phase_) log_.info("phase", {{"name", name_of(progress.phase)}});
  phase_ = progress.phase;
  // Its numbers change all the time: that it is there is what is new.
  if (progress.trouble.empty() != trouble_.empty()) {
    if (progress.trouble.empty()) {
      log_.info("trouble-over");
    } else {
      log_.warning("trouble", {{"text", progress.trouble}});
    }
  }
  trouble_ = progress.trouble;
  log_.debug("progress", {{"pages_left", progress.pages_left},
                          {"bytes_sent", progress.bytes_sent},
                          {"send_bits_per_second", progress.send_bits_per_second},
                          {"dirty_pages_per_second", progress.dirty_pages_per_second},
                          {"predicted_pause", progress.predicted_pause.value_or(Duration{})}});
}

namespace {

void log_error(const Log& log, const std::optional<Error>& error) {
  if (error) log.error("failed", {{"kind", name_of(error->kind)}, {"text", error->message}});
}

}  // namespace

void log_end(const Log& log, const Report& report) {
  for (const LedgerEntry& entry : report.ledger) {
    log.info("pause-step", {{"name", entry.name}, {"begin_us", entry.begin_us}, {"end_us", entry.end_us}});
  }
  log_error(log, report.error);
  log.info("end", {{"outcome", name_of(report.outcome)},
                   {"total", report.total},
                   {"pause", report.pause},
                   {"max_downtime", report.max_downtime},
                   {"commit_to_resume", report.commit_to_resume},
                   {"harvests", report.harvests},
                   {"pages_data", report.pages_data},
                   {"pages_resent", report.pages_resent},
                   {"pages_in_pause", report.pages_in_pause},
                   {"bytes_lanes", report.bytes_lanes},
                   {"bytes_devices", report.bytes_devices},
                   {"cpu", report.source_cpu}});
}

void log_end(const Log& log, const SinkReport& report) {
  log_error(log, report.error);
  log.info("end", {{"outcome", name_of(report.outcome)},
                   {"total", report.total},
                   {"commit_to_resume", report.commit_to_resume},
                   {"device_load", report.device_load},
                   {"bytes_received", report.bytes_received},
                   {"cpu", report.cpu}});
}

}  // namespace godwit
