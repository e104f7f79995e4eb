// Which message has which number, body and limit. The bodies themselves are in binary_bodies.cpp and json_bodies.cpp.
#include <fmt/format.h>

#include <optional>
#include <type_traits>

#include "wire/bodies.h"
#include "wire/control.h"
#include "wire/limits.h"
#include "wire/message_types.h"

namespace godwit::wire {
namespace {

template <typename M>
constexpr MessageType type_of() {
  if constexpr (std::is_same_v<M, Hello>) return MessageType::kHello;
  if constexpr (std::is_same_v<M, DataMap>) return MessageType::kDataMap;
  if constexpr (std::is_same_v<M, DataMapEnd>) return MessageType::kDataMapEnd;
  if constexpr (std::is_same_v<M, DeviceBytes>) return MessageType::kDeviceBytes;
  if constexpr (std::is_same_v<M, PackedDevices>) return MessageType::kPackedDevices;
  if constexpr (std::is_same_v<M, GuestStopped>) return MessageType::kGuestStopped;
  if constexpr (std::is_same_v<M, DeviceEnd>) return MessageType::kDeviceEnd;
  if constexpr (std::is_same_v<M, MissingMap>) return MessageType::kMissingMap;
  if constexpr (std::is_same_v<M, MissingMapEnd>) return MessageType::kMissingMapEnd;
  if constexpr (std::is_same_v<M, StayPaused>) return MessageType::kStayPaused;
  if constexpr (std::is_same_v<M, Commit>) return MessageType::kCommit;
  if constexpr (std::is_same_v<M, Welcome>) return MessageType::kWelcome;
  if constexpr (std::is_same_v<M, Refusal>) return MessageType::kRefusal;
  if constexpr (std::is_same_v<M, MapApplied>) return MessageType::kMapApplied;
  if constexpr (std::is_same_v<M, Fenced>) return MessageType::kFenced;
  if constexpr (std::is_same_v<M, Prepared>) return MessageType::kPrepared;
  if constexpr (std::is_same_v<M, Done>) return MessageType::kDone;
  if constexpr (std::is_same_v<M, Heartbeat>) return MessageType::kHeartbeat;
  if constexpr (std::is_same_v<M, Abort>) return MessageType::kAbort;
}

template <typename M>
std::vector<std::byte> body_of(const M& message) {
  if constexpr (std::is_empty_v<M>) {
    return {};
  } else if constexpr (std::is_same_v<M, DeviceBytes>) {
    return message.bytes;
  } else if constexpr (std::is_same_v<M, DataMap> || std::is_same_v<M, MissingMap> || std::is_same_v<M, Fenced> ||
                       std::is_same_v<M, PackedDevices>) {
    return encode_body(message);
  } else {
    const std::string json = encode_json(message);
    const Bytes bytes = bytes_of(json);
    return {bytes.begin(), bytes.end()};
  }
}

/// Longest body of each type; nothing for an unknown number.
std::optional<std::size_t> limit_of(MessageType type) noexcept {
  switch (type) {
    case MessageType::kHello:
    case MessageType::kWelcome:
      return kMaxHelloBody;
    case MessageType::kDataMap:
    case MessageType::kMissingMap:
      return 8 + 4 + sizeof(PageWord) * kMaxMapWords;
    case MessageType::kDeviceBytes:
      return kMaxDeviceBytes;
    case MessageType::kPackedDevices:
      return kPackedHeader + kMaxPackedDevices;
    case MessageType::kRefusal:
    case MessageType::kAbort:
      return kMaxReasonBody;
    case MessageType::kDone:
      return kMaxDoneBody;
    case MessageType::kFenced:
      return sizeof(Fenced::fence);
    case MessageType::kDataMapEnd:
    case MessageType::kGuestStopped:
    case MessageType::kDeviceEnd:
    case MessageType::kMissingMapEnd:
    case MessageType::kStayPaused:
    case MessageType::kCommit:
    case MessageType::kMapApplied:
    case MessageType::kPrepared:
    case MessageType::kHeartbeat:
      return 0;
  }
  return std::nullopt;
}

}  // namespace

Encoded encode(const Message& message) {
  return std::visit(
      [](const auto& m) {
        using M = std::remove_cvref_t<decltype(m)>;
        return Encoded{static_cast<std::uint16_t>(type_of<M>()), body_of(m)};
      },
      message);
}

std::size_t body_limit(std::uint16_t type) noexcept {
  return limit_of(static_cast<MessageType>(type)).value_or(0);
}

bool is_known(std::uint16_t type) noexcept {
  return limit_of(static_cast<MessageType>(type)).has_value();
}

Result<Message> decode(std::uint16_t type, Bytes body) {
  if (!is_known(type)) return fail(ErrorKind::kProtocol, fmt::format("unknown control message 0x{:04x}", type));
  if (body.size() > body_limit(type)) {
    return fail(ErrorKind::kProtocol, fmt::format("control message 0x{:04x} has {} bytes, at most {} are allowed", type,
                                                  body.size(), body_limit(type)));
  }
  switch (static_cast<MessageType>(type)) {
    case MessageType::kHello:
      return TRY_IN("Hello", decode_hello(body));
    case MessageType::kDataMap:
      return TRY(decode_data_map(body));
    case MessageType::kDataMapEnd:
      return DataMapEnd{};
    case MessageType::kDeviceBytes:
      return DeviceBytes{{body.begin(), body.end()}};
    case MessageType::kPackedDevices:
      return TRY(decode_packed_devices(body));
    case MessageType::kGuestStopped:
      return GuestStopped{};
    case MessageType::kDeviceEnd:
      return DeviceEnd{};
    case MessageType::kMissingMap:
      return TRY(decode_missing_map(body));
    case MessageType::kMissingMapEnd:
      return MissingMapEnd{};
    case MessageType::kStayPaused:
      return StayPaused{};
    case MessageType::kCommit:
      return Commit{};
    case MessageType::kWelcome:
      return TRY_IN("Welcome", decode_welcome(body));
    case MessageType::kRefusal:
      return TRY_IN("Refusal", decode_refusal(body));
    case MessageType::kMapApplied:
      return MapApplied{};
    case MessageType::kFenced:
      return TRY(decode_fenced(body));
    case MessageType::kPrepared:
      return Prepared{};
    case MessageType::kDone:
      return TRY_IN("Done", decode_done(body));
    case MessageType::kHeartbeat:
      return Heartbeat{};
    case MessageType::kAbort:
      return TRY_IN("Abort", decode_abort(body));
  }
  return fail(ErrorKind::kProtocol, fmt::format("unknown control message 0x{:04x}", type));
}

}  // namespace godwit::wire
