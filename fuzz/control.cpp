// Control messages and greetings from hostile bytes.
//
//   first byte 0: a greeting      254: all that a source says first, in pieces of the size that the next byte tells
//   255: a stream of messages with headers      else: a message type, its body follows
//
// Each is refused with an error of the right kind, or means something that survives being encoded again.
#include <algorithm>
#include <cstdlib>

#include "fuzz/bytes_channel.h"
#include "wire/control.h"
#include "wire/opening.h"

namespace {

using namespace godwit;

void check(bool kept) {
  if (!kept) std::abort();
}

void check_message(const wire::Message& message) {
  const auto encoded = wire::encode(message);
  check(encoded.body.size() <= wire::body_limit(encoded.type));
  const auto again = wire::decode(encoded.type, encoded.body);
  check(again.has_value() && *again == message);
}

void check_body(std::uint16_t type, Bytes body) {
  const auto message = wire::decode(type, body);
  if (!message) {
    check(message.error().kind == ErrorKind::kProtocol);
    return;
  }
  check_message(*message);
  // Binary bodies have one encoding.
  if (std::holds_alternative<wire::DataMap>(*message) || std::holds_alternative<wire::Fenced>(*message)) {
    const auto encoded = wire::encode(*message);
    check(std::equal(encoded.body.begin(), encoded.body.end(), body.begin(), body.end()));
  }
}

void check_stream(Bytes bytes) {
  BytesChannel channel(bytes);
  wire::ControlConnection control(channel);
  for (;;) {
    const auto message = control.receive();
    if (!message) {
      check(message.error().kind == ErrorKind::kProtocol || message.error().kind == ErrorKind::kPeerLost);
      return;
    }
    check_message(*message);
  }
}

void check_greeting(Bytes bytes) {
  BytesChannel channel(bytes);
  const auto greeting = wire::receive_greeting(channel);
  if (greeting) {
    check(greeting->version == wire::kVersion);
    check(greeting->role == wire::Role::kControl || greeting->role == wire::Role::kLane);
    return;
  }
  check(greeting.error().kind == ErrorKind::kProtocol || greeting.error().kind == ErrorKind::kPeerLost);
}

void check_opening(Bytes bytes) {
  if (bytes.empty()) return;
  const auto piece = 1 + std::to_integer<std::size_t>(bytes[0]);
  bytes = bytes.subspan(1);
  wire::Opening opening;
  while (!bytes.empty() && !opening.room().empty()) {
    const auto size = std::min({piece, bytes.size(), opening.room().size()});
    std::copy_n(bytes.begin(), size, opening.room().begin());
    bytes = bytes.subspan(size);
    if (const Status taken = opening.advance(size); !taken) return check(taken.error().kind == ErrorKind::kProtocol);
    check(opening.room().empty() == opening.complete());
  }
  if (opening.complete() && opening.greeting()->role == wire::Role::kControl) check_message(opening.take_hello());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Bytes bytes = std::as_bytes(std::span(data, size));
  if (bytes.empty()) return 0;
  const Bytes rest = bytes.subspan(1);
  switch (data[0]) {
    case 0:
      check_greeting(rest);
      return 0;
    case 254:
      check_opening(rest);
      return 0;
    case 255:
      check_stream(rest);
      return 0;
    default:
      check_body(data[0], rest);
      return 0;
  }
}
