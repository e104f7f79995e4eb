#include "engine/sink_states.h"

#include <fmt/format.h>

#include <algorithm>

namespace godwit {

namespace {
/// In the order of wire::Message's alternatives.
constexpr std::array<std::string_view, std::variant_size_v<wire::Message>> kMessageNames = {
    "Hello",      "DataMap",       "DataMapEnd", "DeviceBytes", "PackedDevices", "GuestStopped", "DeviceEnd",
    "MissingMap", "MissingMapEnd", "StayPaused", "Commit",      "Welcome",       "Refusal",      "MapApplied",
    "Fenced",     "Prepared",      "Done",       "Heartbeat",   "Abort"};
static_assert(std::is_same_v<std::variant_alternative_t<18, wire::Message>, wire::Abort>);
}  // namespace

std::string_view name_of(SinkState state) noexcept {
  switch (state) {
    case SinkState::kListening:
      return "listening";
    case SinkState::kWelcomed:
      return "welcomed";
    case SinkState::kMapping:
      return "mapping";
    case SinkState::kCopying:
      return "copying";
    case SinkState::kStopped:
      return "stopped";
    case SinkState::kDevicesEnded:
      return "devices ended";
    case SinkState::kPrepared:
      return "prepared";
    case SinkState::kCommitted:
      return "committed";
    case SinkState::kRunning:
      return "running";
  }
  return "unknown";
}

Result<SinkState> next_state(SinkState state, const wire::Message& message) {
  if (std::holds_alternative<wire::Heartbeat>(message) || std::holds_alternative<wire::Abort>(message)) return state;
  const std::string_view name = kMessageNames[message.index()];
  const auto row = std::ranges::find_if(kSinkTransitions, [&](const SinkTransition& transition) {
    return transition.from == state && transition.message == name;
  });
  if (row != kSinkTransitions.end()) return row->to;
  return fail(ErrorKind::kProtocol,
              fmt::format("the source sent {} out of order (this side's state: {})", name, name_of(state)));
}

}  // namespace godwit
