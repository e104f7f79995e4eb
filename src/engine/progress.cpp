#include "engine/progress.h"

#include "engine/report.h"

namespace godwit {

std::string_view name_of(Phase phase) noexcept {
  switch (phase) {
    case Phase::kConnecting:
      return "connecting";
    case Phase::kTracking:
      return "tracking";
    case Phase::kCopying:
      return "copying";
    case Phase::kHandingOver:
      return "handing-over";
    case Phase::kPaused:
      return "paused";
    case Phase::kCommitted:
      return "committed";
    case Phase::kPostcopy:
      return "post-copy";
    case Phase::kDone:
      return "done";
    case Phase::kRollingBack:
      return "rolling-back";
  }
  return "unknown";
}

std::string_view name_of(Outcome outcome) noexcept {
  switch (outcome) {
    case Outcome::kDone:
      return "done";
    case Outcome::kSourceRuns:
      return "source-runs";
    case Outcome::kSourceStopped:
      return "source-stopped";
    case Outcome::kInDoubt:
      return "in-doubt";
    case Outcome::kGuestEnded:
      return "guest-ended";
    case Outcome::kGuestPaused:
      return "guest-paused";
    case Outcome::kIncomplete:
      return "incomplete";
  }
  return "unknown";
}

}  // namespace godwit
