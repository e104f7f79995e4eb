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

Status send_framed(Channel& channel, std::uint16_t type, Bytes body, const Deadline& until) {
  auto header = encode_header(type, body.size());
  // Channels only read what they send.
  const std::array<iovec, 2> parts{iovec{header.data(), header.size()},
                                   iovec{const_cast<std::byte*>(body.data()), body.size()}};
  return channel.write(parts, until);
}

}  // namespace

Result<ControlConnection::Turn> ControlConnection::Turn::await(ControlConnection& connection, const Deadline& until) {
  std::unique_lock lock(connection.mutex_);
  while (connection.sending_) {
    if (until.over()) return fail(ErrorKind::kTimedOut, "the peer does not take what is being sent to it");
    if (until.is_never()) {
      connection.turn_is_free_.wait(lock);
    } else {
      connection.turn_is_free_.wait_for(lock, until.wait());
    }
  }
  connection.sending_ = true;
  return Turn(connection);
}

ControlConnection::Turn::~Turn() {
  if (of_ == nullptr) return;
  {
    const std::lock_guard lock(of_->mutex_);
    of_->sending_ = false;
  }
  of_->turn_is_free_.notify_one();
}

Status ControlConnection::send(const Message& message, const Deadline& until) {
  if (const auto* device = std::get_if<DeviceBytes>(&message)) {
    // In the guest's pause, and any bytes will do: no copy and no check except of the length.
    if (device->bytes.size() > kMaxDeviceBytes) {
      return fail(ErrorKind::kInvalidArgument,
                  fmt::format("{} device bytes in one message, at most {} fit", device->bytes.size(), kMaxDeviceBytes));
    }
    const Turn turn = TRY(Turn::await(*this, until));
    return send_framed(channel_, static_cast<std::uint16_t>(MessageType::kDeviceBytes), device->bytes, until);
  }
  const Encoded encoded = encode(message);
  TRY(check(encoded.type, encoded.body));
  const Turn turn = TRY(Turn::await(*this, until));
  return send_framed(channel_, encoded.type, encoded.body, until);
}

std::uint64_t ControlConnection::unconfirmed() {
  const auto turn = Turn::await(*this, Deadline::never());
  return channel_.link().send_queue().bytes;
}

template <typename Read>
Result<Message> ControlConnection::receive_by(Read read) {
  HeaderBytes bytes;
  TRY(read(MutableBytes(bytes)));
  const Header header = TRY(decode_header(bytes));
  std::vector<std::byte> body(header.length);
  TRY(read(MutableBytes(body)));
  return decode(header.type, body);
}

Result<Message> ControlConnection::receive() {
  return receive_by([this](MutableBytes exactly) { return receive_bytes(channel_, exactly, silence_); });
}

Result<Message> ControlConnection::receive(const Deadline& until) {
  return receive_by([&](MutableBytes exactly) { return channel_.read(exactly, exactly.size(), until); });
}

}  // namespace godwit::wire
