// What `godwit control` asks a move, as a line of JSON: {"command": "set", "goal": "max-downtime", "value": "100ms"}.
//
// Commands and goals are checked by the words alone; values by the move that they are for.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "engine/steering.h"

namespace godwit {

/// A longer line is not a request.
constexpr std::size_t kLongestRequest = 4096;

struct ControlRequest {
  std::string command;  ///< "status", "set", "cancel", "switch-over-now", "postcopy-now"
  std::string goal;     ///< with "set": "max-downtime", ...
  std::string value;    ///< likewise
};

/// From the words behind `godwit control SOCKET`; kInvalidArgument says what there is.
Result<ControlRequest> control_request_of(const std::vector<std::string>& words);
/// Without a line end.
std::string request_line(const ControlRequest& request);
/// Any bytes at all may come.
Result<ControlRequest> parse_request(std::string_view line);
/// Of a "set": kInvalidArgument if the goal is unknown, or its value is none.
Result<GoalChange> goal_change(const ControlRequest& request);

}  // namespace godwit
