#include "app/failpoint.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <utility>
#include <vector>

namespace godwit {

namespace {

struct Failpoint {
  Milestone milestone;
  int signal;
};

Result<Failpoint> one_failpoint(std::string_view text) {
  const auto colon = text.rfind(':');
  const std::string_view action = colon == std::string_view::npos ? "" : text.substr(colon + 1);
  if (action != "kill" && action != "stop") {
    return fail(ErrorKind::kInvalidArgument,
                fmt::format("GODWIT_FAILPOINT: '{}' is neither MILESTONE:kill nor MILESTONE:stop", text));
  }
  const auto name = text.substr(0, colon);
  const auto milestone = milestone_from(name);
  if (!milestone) {
    std::vector<std::string_view> known;
    for (const Milestone one : all_milestones()) known.push_back(name_of(one));
    return fail(ErrorKind::kInvalidArgument, fmt::format("GODWIT_FAILPOINT: unknown milestone '{}'; valid ones are {}",
                                                         name, fmt::join(known, ", ")));
  }
  return Failpoint{*milestone, action == "kill" ? SIGKILL : SIGSTOP};
}

}  // namespace

Result<OnMilestone> failpoint_from_environment() {
  const char* text = std::getenv("GODWIT_FAILPOINT");
  return failpoint_from(text == nullptr ? "" : text);
}

Result<OnMilestone> failpoint_from(std::string_view text) {
  std::vector<Failpoint> points;
  for (std::string_view rest = text; !rest.empty();) {
    const auto end = std::min(rest.find(','), rest.size());
    points.push_back(TRY(one_failpoint(rest.substr(0, end))));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return OnMilestone([points = std::move(points)](Milestone milestone) {
    for (const auto& [at, signal] : points) {
      if (milestone == at) ::raise(signal);
    }
  });
}

}  // namespace godwit
