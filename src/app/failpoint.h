// Failpoints: a test makes the engine die or stop at a named milestone.
//
// GODWIT_FAILPOINT=MILESTONE:kill raises SIGKILL there, MILESTONE:stop raises SIGSTOP (a test looks at both sides and
// sends SIGCONT). Several are separated by commas. Read once at the start; without the variable nothing happens.
#pragma once

#include <string_view>

#include "base/result.h"
#include "engine/milestone.h"

namespace godwit {

/// The failpoint that the environment asks for, or one that does nothing. kInvalidArgument for an invalid one.
Result<OnMilestone> failpoint_from_environment();
/// `text` is the variable's.
Result<OnMilestone> failpoint_from(std::string_view text);

}  // namespace godwit
