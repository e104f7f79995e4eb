#include "app/control_desk.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "app/control_request.h"
#include "app/progress_text.h"
#include "base/units.h"

namespace godwit {

namespace {

using AnswerJson = nlohmann::ordered_json;

std::string line_of(const AnswerJson& answer) {
  return answer.dump(-1, ' ', false, AnswerJson::error_handler_t::replace);
}

std::int64_t whole_microseconds(Duration duration) {
  return std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
}

std::string_view on_deadline_name(OnDeadline what) {
  switch (what) {
    case OnDeadline::kCancel:
      return "cancel";
    case OnDeadline::kPause:
      return "pause";
    case OnDeadline::kPostcopy:
      return "postcopy";
  }
  return "unknown";
}

std::string_view order_name(Order order) {
  switch (order) {
    case Order::kNone:
      return "";
    case Order::kSwitchOver:
      return "switch-over-now";
    case Order::kPostcopy:
      return "postcopy-now";
  }
  return "";
}

AnswerJson goals_object(const Goals& goals) {
  AnswerJson object{{"max_downtime_us", whole_microseconds(goals.max_downtime)},
                    {"timeout_us", whole_microseconds(goals.timeout)},
                    {"deadline_us", nullptr},
                    {"on_deadline", on_deadline_name(goals.on_deadline)},
                    {"guest_slowdown", goals.guest_slowdown},
                    {"bandwidth_bits_per_second", nullptr},
                    {"ordered", nullptr}};
  if (goals.deadline) object["deadline_us"] = whole_microseconds(*goals.deadline);
  if (goals.bandwidth) object["bandwidth_bits_per_second"] = goals.bandwidth->bits_per_second;
  if (goals.order != Order::kNone) object["ordered"] = order_name(goals.order);
  return object;
}

std::string goals_text(const Goals& goals) {
  std::string text =
      fmt::format("max-downtime {}, timeout {}", format_duration(goals.max_downtime), format_duration(goals.timeout));
  if (goals.deadline) {
    text +=
        fmt::format(", deadline {} (then {})", format_duration(*goals.deadline), on_deadline_name(goals.on_deadline));
  } else if (goals.may_postcopy()) {
    text += ", on-deadline postcopy";
  }
  if (goals.guest_slowdown > 0) text += fmt::format(", guest-slowdown {:.0f}%", goals.guest_slowdown * 100);
  const bool bounded = goals.bandwidth.has_value();
  text += ", bandwidth " +
          (bounded ? format_bit_rate(static_cast<double>(goals.bandwidth->bits_per_second)) : std::string("none"));
  if (goals.order != Order::kNone) text += fmt::format("; ordered: {}", order_name(goals.order));
  return text;
}

std::string status_line(const ControlledMove& move) {
  const auto progress = move.progress();
  const Goals goals = move.goals();
  AnswerJson answer{{"done", true}, {"progress", nullptr}, {"goals", goals_object(goals)}};
  std::string text = "nothing has begun yet";
  if (progress) {
    answer["progress"] = AnswerJson::parse(progress_json(*progress), nullptr, false);
    text = progress_line(*progress);
    if (!progress->trouble.empty()) text += "\n" + progress->trouble;
  }
  answer["text"] = text + "\n" + goals_text(goals);
  return line_of(answer);
}

std::string line_of(const Status& status, std::string_view text) {
  if (!status) return refusal_line(status.error().message);
  return line_of(AnswerJson{{"done", true}, {"text", text}});
}

}  // namespace

std::string refusal_line(std::string_view why) {
  return line_of(AnswerJson{{"done", false}, {"error", why}});
}

std::string answer_request(std::string_view line, ControlledMove& move) {
  const auto request = parse_request(line);
  if (!request) return refusal_line(request.error().message);
  if (request->command == "status") return status_line(move);
  if (request->command == "cancel") {
    return line_of(move.cancel(), "it is being cancelled: how the guest fares says `send`'s exit code");
  }
  if (request->command == "switch-over-now") {
    return line_of(move.order(Order::kSwitchOver), "the guest will be paused until the rest has been sent");
  }
  if (request->command == "postcopy-now") {
    return line_of(move.order(Order::kPostcopy), "the guest will run at the destination, and the rest follows");
  }
  const auto change = goal_change(*request);
  if (!change) return refusal_line(change.error().message);
  return line_of(move.change(*change), fmt::format("{} is {} now", request->goal, request->value));
}

}  // namespace godwit
