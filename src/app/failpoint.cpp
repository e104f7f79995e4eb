#include "app/failpoint.h"

#include <csignal>
#include <cstdlib>

namespace godwit {

Result<OnMilestone> failpoint_from_environment() {
  const char* text = std::getenv("GODWIT_FAILPOINT");
  if (text == nullptr) return OnMilestone([](std::string_view) {});
  const std::string_view wanted = text;
  const auto colon = wanted.rfind(':');
  const std::string_view action = colon == std::string_view::npos ? "" : wanted.substr(colon + 1);
  if (action != "kill" && action != "stop") {
    return fail(ErrorKind::kInvalidArgument, "GODWIT_FAILPOINT must be MILESTONE:kill or MILESTONE:stop");
  }
  const int signal = action == "kill" ? SIGKILL : SIGSTOP;
  return OnMilestone([name = std::string(wanted.substr(0, colon)), signal](std::string_view milestone) {
    if (milestone == name) ::raise(signal);
  });
}

}  // namespace godwit
