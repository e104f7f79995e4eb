// Sends and receives control messages on a channel.
#pragma once

#include <mutex>

#include "base/result.h"
#include "net/channel.h"
#include "wire/messages.h"

namespace godwit::wire {

/// Greets: the first bytes on a connection that this side opened.
Status send_greeting(Channel& channel, const Greeting& greeting);
/// kProtocol: not Godwit ("this is not a Godwit peer"), a version or a role that we do not know. kTimedOut if it is not
/// complete `within` the time, however its bytes come; zero: the channel's receive timeout holds for each of them.
Result<Greeting> receive_greeting(Channel& channel, Duration within = {});
/// Compares without leaking where they differ.
bool same_secret(const Secret& a, const Secret& b) noexcept;
Result<Secret> random_secret();

/// The control connection. send() from any thread, receive() from one.
class ControlConnection {
 public:
  explicit ControlConnection(Channel& channel) : channel_(channel) {}
  /// kInvalidArgument: the peer would refuse it (a name or a body over its limit); nothing was sent.
  Status send(const Message& message);
  /// Of what was sent: what the peer's kernel has not confirmed yet.
  std::uint64_t unconfirmed();
  /// The next message. kProtocol: an unknown type, a length over its type's limit, a malformed body.
  Result<Message> receive();

 private:
  Channel& channel_;
  std::mutex sending_;
};

/// The body's bytes and back, for tests and fuzzing. `type` is the number in spec.md.
struct Encoded {
  std::uint16_t type = 0;
  std::vector<std::byte> body;
};
Encoded encode(const Message& message);
Result<Message> decode(std::uint16_t type, Bytes body);
/// The longest body that the type may have; 0 for an unknown type.
std::size_t body_limit(std::uint16_t type) noexcept;
bool is_known(std::uint16_t type) noexcept;

}  // namespace godwit::wire
