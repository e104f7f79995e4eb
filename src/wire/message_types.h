// Numbers of the control messages, as in spec.md; never used again.
#pragma once

#include <cstdint>

namespace godwit::wire {

enum class MessageType : std::uint16_t {
  // source -> sink
  kHello = 0x01,
  kDataMap = 0x02,
  kDataMapEnd = 0x03,
  kDeviceBytes = 0x04,
  kGuestStopped = 0x05,
  kDeviceEnd = 0x06,
  kCommit = 0x07,
  kPackedDevices = 0x08,
  kMissingMap = 0x09,
  kMissingMapEnd = 0x0a,
  kStayPaused = 0x0b,
  // sink -> source
  kWelcome = 0x41,
  kRefusal = 0x42,
  kMapApplied = 0x43,
  kFenced = 0x44,
  kPrepared = 0x45,
  kDone = 0x46,
  // both
  kHeartbeat = 0x81,
  kAbort = 0x82,
};

}  // namespace godwit::wire
