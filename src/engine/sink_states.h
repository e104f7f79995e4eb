// The states of a sink, and which message takes it from one to the next: the table in wire/spec.md.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "base/result.h"
#include "wire/messages.h"

namespace godwit {

/// In the order in which they follow one another.
enum class SinkState : std::uint8_t {
  kListening,     ///< no source has come, or none that fits
  kWelcomed,      ///< one that fits has; nothing has been changed here
  kMapping,       ///< in the middle of its data map: memory here is being changed
  kCopying,       ///< lanes bring memory
  kStopped,       ///< the source's guest is paused
  kDevicesEnded,  ///< the device stream is complete
  kPrepared,      ///< all of it is loaded and in place: what the source decides is done
  kCommitted,     ///< the source has given its guest up
  kRunning,       ///< the guest runs here, or is here complete and paused
};
std::string_view name_of(SinkState state) noexcept;  ///< "welcomed", "devices ended", ...

/// One row: in this state this message, a name as in spec.md, is in order, and leads to that state. A message without a
/// row is refused; Heartbeat and Abort may come in every state.
struct SinkTransition {
  SinkState from;
  std::string_view message;
  SinkState to;
};
inline constexpr std::array kSinkTransitions = {
    SinkTransition{SinkState::kListening, "Hello", SinkState::kWelcomed},
    SinkTransition{SinkState::kWelcomed, "DataMap", SinkState::kMapping},
    SinkTransition{SinkState::kMapping, "DataMap", SinkState::kMapping},
    SinkTransition{SinkState::kMapping, "DataMapEnd", SinkState::kCopying},
    SinkTransition{SinkState::kCopying, "DeviceBytes", SinkState::kCopying},
    SinkTransition{SinkState::kCopying, "PackedDevices", SinkState::kCopying},
    SinkTransition{SinkState::kCopying, "MissingMap", SinkState::kCopying},
    SinkTransition{SinkState::kCopying, "MissingMapEnd", SinkState::kCopying},
    SinkTransition{SinkState::kCopying, "GuestStopped", SinkState::kStopped},
    SinkTransition{SinkState::kStopped, "DeviceBytes", SinkState::kStopped},
    SinkTransition{SinkState::kStopped, "PackedDevices", SinkState::kStopped},
    SinkTransition{SinkState::kStopped, "MissingMap", SinkState::kStopped},
    SinkTransition{SinkState::kStopped, "MissingMapEnd", SinkState::kStopped},
    SinkTransition{SinkState::kStopped, "DeviceEnd", SinkState::kDevicesEnded},
    SinkTransition{SinkState::kDevicesEnded, "MissingMap", SinkState::kDevicesEnded},
    SinkTransition{SinkState::kDevicesEnded, "MissingMapEnd", SinkState::kDevicesEnded},
    SinkTransition{SinkState::kPrepared, "StayPaused", SinkState::kPrepared},
    SinkTransition{SinkState::kPrepared, "Commit", SinkState::kCommitted},
};

/// kProtocol names the message and the state where it is out of order.
Result<SinkState> next_state(SinkState state, const wire::Message& message);

}  // namespace godwit
