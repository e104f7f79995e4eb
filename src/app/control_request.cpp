#include "app/control_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "app/option_values.h"

namespace godwit {

namespace {

using namespace std::chrono_literals;

constexpr std::array kControlCommands = {"status", "set", "cancel", "switch-over-now", "postcopy-now"};
constexpr std::array kControlGoals = {"max-downtime", "bandwidth",   "timeout",
                                      "deadline",     "on-deadline", "guest-slowdown"};
constexpr std::string_view kNoGoal = "none";

template <typename Names>
Status check_known(std::string_view what, std::string_view word, const Names& names) {
  if (std::find(names.begin(), names.end(), word) != names.end()) return {};
  return fail(ErrorKind::kInvalidArgument,
              fmt::format("control: unknown {} '{}'; there are {}", what, word, fmt::join(names, ", ")));
}

Status check_request(const ControlRequest& request) {
  TRY(check_known("command", request.command, kControlCommands));
  const bool sets = request.command == "set";
  if (sets && request.goal.empty()) {
    return fail(ErrorKind::kInvalidArgument, "control: write set GOAL VALUE, e.g. set max-downtime 100ms");
  }
  if (sets) return check_known("goal", request.goal, kControlGoals);
  if (request.goal.empty() && request.value.empty()) return {};
  return fail(ErrorKind::kInvalidArgument, fmt::format("control: {} takes no more words", request.command));
}

}  // namespace

Result<ControlRequest> control_request_of(const std::vector<std::string>& words) {
  ControlRequest request;
  if (!words.empty()) request.command = words[0];
  if (words.size() > 1) request.goal = words[1];
  if (words.size() > 2) request.value = words[2];
  TRY(check_request(request));
  const std::size_t count = request.command == "set" ? 3 : 1;
  if (words.size() != count) {
    return fail(ErrorKind::kInvalidArgument, "control: write set GOAL VALUE, e.g. set max-downtime 100ms");
  }
  return request;
}

std::string request_line(const ControlRequest& request) {
  nlohmann::ordered_json line{{"command", request.command}};
  if (!request.goal.empty()) line["goal"] = request.goal;
  if (!request.value.empty()) line["value"] = request.value;
  return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

Result<ControlRequest> parse_request(std::string_view line) {
  const auto json = nlohmann::json::parse(line, nullptr, false);
  if (!json.is_object()) return fail(ErrorKind::kInvalidArgument, "control: a request is a JSON object on one line");
  ControlRequest request;
  const auto take = [&json](const char* key, std::string& text) {
    const auto found = json.find(key);
    if (found == json.end()) return true;
    if (found->is_string()) text = found->get<std::string>();
    return found->is_string();
  };
  if (!take("command", request.command) || !take("goal", request.goal) || !take("value", request.value)) {
    return fail(ErrorKind::kInvalidArgument, "control: command, goal and value are texts");
  }
  TRY(check_request(request));
  return request;
}

Result<GoalChange> goal_change(const ControlRequest& request) {
  const std::string& goal = request.goal;
  const std::string& value = request.value;
  GoalChange change;
  // The bounds of `godwit send`.
  if (goal == "max-downtime") {
    change.max_downtime = TRY(duration_value(goal, value, 1ms, 10min));
  } else if (goal == "bandwidth") {
    change.bandwidth.emplace();
    if (value != kNoGoal) *change.bandwidth = TRY(bandwidth_value(goal, value));
  } else if (goal == "timeout") {
    change.timeout = TRY(duration_value(goal, value, 1s, 168h));
  } else if (goal == "deadline") {
    change.deadline.emplace();
    if (value != kNoGoal) *change.deadline = TRY(duration_value(goal, value, 0s, 168h));
  } else if (goal == "on-deadline") {
    change.on_deadline = TRY(on_deadline_value(goal, value));
  } else if (goal == "guest-slowdown") {
    change.guest_slowdown = TRY(percent_value(goal, value, 99));
  } else {
    TRY(check_known("goal", goal, kControlGoals));
  }
  return change;
}

}  // namespace godwit
