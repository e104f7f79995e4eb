// Answers what `godwit control` asks: a line for a line.
//
//   {"command": "status"}        -> {"done": true, "progress": {...} or null, "goals": {...}, "text": "..."}
//   {"command": "set", ...}      -> {"done": true, "text": "max-downtime is 100 ms now"}
//   what makes no sense now      -> {"done": false, "error": "..."}, and the move goes on
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "engine/progress.h"
#include "engine/steering.h"

namespace godwit {

/// A move that is under way. Any thread; each call answers at once.
class ControlledMove {
 public:
  virtual ~ControlledMove() = default;
  virtual Status change(const GoalChange& change) = 0;
  virtual Status order(Order order) = 0;
  virtual Status cancel() = 0;
  virtual Goals goals() const = 0;
  virtual std::optional<Progress> progress() const = 0;  ///< the latest; nothing before there is any
};

/// The answer to a request, without a line end. Whatever the request is.
std::string answer_request(std::string_view line, ControlledMove& move);
/// That a request was refused.
std::string refusal_line(std::string_view why);

}  // namespace godwit
