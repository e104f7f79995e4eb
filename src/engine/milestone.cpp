#include "engine/milestone.h"

#include <algorithm>
#include <array>

namespace godwit {

namespace {
constexpr std::array kAllMilestones = {
    Milestone::kAttached,    Milestone::kListening,  Milestone::kConnected, Milestone::kGreeted,
    Milestone::kWelcomed,    Milestone::kTracking,   Milestone::kMapped,    Milestone::kCopying,
    Milestone::kHandingOver, Milestone::kStopped,    Milestone::kFenced,    Milestone::kLastFencePassed,
    Milestone::kDevicesSent, Milestone::kLoaded,     Milestone::kPrepared,  Milestone::kCommitted,
    Milestone::kResumed,     Milestone::kTakenAhead, Milestone::kRunsEarly, Milestone::kDone,
};
}  // namespace

std::span<const Milestone> all_milestones() noexcept {
  return kAllMilestones;
}

std::string_view name_of(Milestone milestone) noexcept {
  switch (milestone) {
    case Milestone::kAttached:
      return "attached";
    case Milestone::kListening:
      return "listening";
    case Milestone::kConnected:
      return "connected";
    case Milestone::kGreeted:
      return "greeted";
    case Milestone::kWelcomed:
      return "welcomed";
    case Milestone::kTracking:
      return "tracking";
    case Milestone::kMapped:
      return "mapped";
    case Milestone::kCopying:
      return "copying";
    case Milestone::kTakenAhead:
      return "taken-ahead";
    case Milestone::kHandingOver:
      return "handing-over";
    case Milestone::kStopped:
      return "stopped";
    case Milestone::kFenced:
      return "fenced";
    case Milestone::kLastFencePassed:
      return "last-fence";
    case Milestone::kDevicesSent:
      return "devices-sent";
    case Milestone::kLoaded:
      return "loaded";
    case Milestone::kPrepared:
      return "prepared";
    case Milestone::kCommitted:
      return "committed";
    case Milestone::kResumed:
      return "resumed";
    case Milestone::kRunsEarly:
      return "runs-early";
    case Milestone::kDone:
      return "done";
  }
  return "unknown";
}

std::optional<Milestone> milestone_from(std::string_view name) noexcept {
  const auto found =
      std::ranges::find_if(kAllMilestones, [&](Milestone milestone) { return name_of(milestone) == name; });
  if (found == kAllMilestones.end()) return std::nullopt;
  return *found;
}

}  // namespace godwit
