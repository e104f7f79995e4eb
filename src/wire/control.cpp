// Control messages on a channel: header, limit, body.
#include "wire/control.h"

#include <fmt/format.h>

#include <array>

#include "wire/control_header.h"
#include "wire/limits.h"
#include "wire/little_endian.h"
#include "wire/message_types.h"

namespace godwit::wire {

HeaderBytes encode_header(std::uint16_t type, std::size_t length) noexcept {
  HeaderBytes bytes{};
  put(bytes.data(), type);
  put(bytes.data() + 4, static_cast<std::uint32_t>(length));
  return bytes;
}

Result<Header> decode_header(Bytes bytes) {
  const Header header{get<std::uint16_t>(bytes.data()), get<std::uint32_t>(bytes.data() + 4)};
  if (!is_known(header.type)) {
    return fail(ErrorKind::kProtocol, fmt::format("unknown control message 0x{:04x}", header.type));
  }
  if (get<std::uint16_t>(bytes.data() + 2) != 0) {
    return fail(ErrorKind::kProtocol, "a control message's reserved bytes are not zero");
  }
  if (header.length > body_limit(header.type)) {
    return fail(ErrorKind::kProtocol, fmt::format("control message 0x{:04x} announces {} bytes, at most {} are allowed",
                                                  header.type, header.length, body_limit(header.type)));
  }
  return header;
}

namespace {

/// What the peer would refuse is refused here, where somebody can still be told why.
Status check(std::uint16_t type, Bytes body) {
  if (body.size() > body_limit(type)) {
    return fail(ErrorKind::kInvalidArgument, fmt::format("control message 0x{:04x} would have {} bytes, at most {} fit",
                                                         type, body.size(), body_limit(type)));
  }
  if (auto decoded = decode(type, body); !decoded) {
    return fail(ErrorKind::kInvalidArgument, "cannot be sent: " + decoded.error().message);
  }
  return {};
}

Status send_framed(Channel& channel, std::uint16_t type, Bytes body) {
  auto header = encode_header(type, body.size());
  // Channels only read what they send.
  const std::array<iovec, 2> parts{iovec{header.data(), header.size()},
                                   iovec{const_cast<std::byte*>(body.data()), body.size()}};
  return channel.send(parts);
}

}  // namespace

Status ControlConnection::send(const Message& message) {
  if (const auto* device = std::get_if<DeviceBytes>(&message)) {
    // In the guest's pause, and any bytes will do: no copy and no check except of the length.
    if (device->bytes.size() > kMaxDeviceBytes) {
      return fail(ErrorKind::kInvalidArgument,
                  fmt::format("{} device bytes in one message, at most {} fit", device->bytes.size(), kMaxDeviceBytes));
    }
    const std::lock_guard lock(sending_);
    return send_framed(channel_, static_cast<std::uint16_t>(MessageType::kDeviceBytes), device->bytes);
  }
  const Encoded encoded = encode(message);
  TRY(check(encoded.type, encoded.body));
  const std::lock_guard lock(sending_);
  return send_framed(channel_, encoded.type, encoded.body);
}

std::uint64_t ControlConnection::unconfirmed() {
  const std::lock_guard lock(sending_);
  return channel_.send_queue().bytes;
}

Result<Message> ControlConnection::receive() {
  HeaderBytes bytes;
  TRY(channel_.receive(bytes));
  const Header header = TRY(decode_header(bytes));
  std::vector<std::byte> body(header.length);
  TRY(channel_.receive(body));
  return decode(header.type, body);
}

}  // namespace godwit::wire
