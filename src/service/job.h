// What a job of either side is given, and what it gives its driver.
//
//   command line, daemon --request, hooks--> SendJob, ReceiveJob --JobContext--> OpenSource, OpenSink (a driver)
//                        <--progress, notes, report--      |
//                                                          +--> run_source(), run_sink()
//
// A process may hold many jobs. CPU time and memory in their reports are the process's: right where it has one job, and
// where it has several no job's own.
#pragma once

#include <functional>
#include <stop_token>
#include <string_view>

#include "base/clock.h"
#include "engine/milestone.h"
#include "log/log.h"
#include "vmm/guest_start.h"

namespace godwit {

/// A line for the operator.
using SayNote = std::function<void(std::string_view)>;

/// What a driver may use while it opens its VM, and as long as that is open. Valid as long as the job.
struct JobContext {
  const Clock& clock;
  SayNote on_note;
  OnMilestone on_milestone;
  std::function<void(const GuestStart&)> on_guest_start;
  std::stop_token cancelled;
};

}  // namespace godwit
