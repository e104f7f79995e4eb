#include "app/failpoint.h"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <utility>
#include <vector>

namespace godwit {

Result<OnMilestone> failpoint_from_environment() {
  const char* text = std::getenv("GODWIT_FAILPOINT");
  if (text == nullptr) return OnMilestone([](std::string_view) {});
  std::vector<std::pair<std::string, int>> points;
  for (std::string_view rest = text; !rest.empty();) {
    const auto end = std::min(rest.find(','), rest.size());
    const std::string_view wanted = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const auto colon = wanted.rfind(':');
    const std::string_view action = colon == std::string_view::npos ? "" : wanted.substr(colon + 1);
    if (action != "kill" && action != "stop") {
      return fail(ErrorKind::kInvalidArgument, "GODWIT_FAILPOINT must be MILESTONE:kill or MILESTONE:stop");
    }
    points.emplace_back(wanted.substr(0, colon), action == "kill" ? SIGKILL : SIGSTOP);
  }
  return OnMilestone([points = std::move(points)](std::string_view milestone) {
    for (const auto& [name, signal] : points) {
      if (milestone == name) ::raise(signal);
    }
  });
}

}  // namespace godwit
