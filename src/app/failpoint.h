// Failpoints: a test makes the engine die, fail or stand still at a named milestone.
//
// GODWIT_FAILPOINT=MILESTONE:kill raises SIGKILL there, MILESTONE:stop raises SIGSTOP (a test looks at both sides and
// sends SIGCONT). Read once at the start; without the variable nothing happens.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace godwit {

/// Told the name of each milestone as it is reached, from the coordinator's thread (engine/milestone.h).
using OnMilestone = std::function<void(std::string_view milestone)>;

/// The failpoint that the environment asks for, or one that does nothing. kInvalidArgument for text that is none.
Result<OnMilestone> failpoint_from_environment();

}  // namespace godwit
