// What jobs of both sides write into the log.
#pragma once

#include <string_view>

#include "engine/progress.h"
#include "engine/report.h"
#include "engine/sink.h"
#include "service/job.h"

namespace godwit {

/// The operator's notes and the engine's milestones go into the log as well.
SayNote logged(const Log& log, SayNote say);
OnMilestone logged(const Log& log, OnMilestone on_milestone);

/// Of a progress that comes ten times a second: the phase when it changes, and trouble when it begins and ends.
class ProgressLog {
 public:
  explicit ProgressLog(Log log) : log_(std::move(log)) {}
  void add(const Progress& progress);

 private:
  Log log_;
  Phase phase_ = Phase::kConnecting;
  std::string trouble_;
};

/// The end, with what it cost; of a pause every step.
void log_end(const Log& log, const Report& report);
void log_end(const Log& log, const SinkReport& report);

}  // namespace godwit
