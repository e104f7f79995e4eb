// Sends and receives control messages on a channel.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "base/result.h"
#include "net/channel.h"
#include "wire/messages.h"

namespace godwit::wire {

/// Greets: the first bytes on a connection that this side opened.
Status send_greeting(Channel& channel, const Greeting& greeting);
/// kProtocol: not Godwit ("this is not a Godwit peer"), a version or a role that we do not know. kTimedOut if it is not
/// complete by the deadline, however its bytes come.
Result<Greeting> receive_greeting(Channel& channel, const Deadline& until = Deadline::never());
/// Compares without leaking where they differ.
bool same_secret(const Secret& a, const Secret& b) noexcept;
Result<Secret> random_secret();

/// The control connection. send() from any thread, receive() from one.
class ControlConnection {
 public:
  /// `silence`: as set_silence().
  explicit ControlConnection(Channel& channel, Duration silence = Duration::zero())
      : channel_(channel), silence_(silence) {}
  /// kInvalidArgument: the peer would refuse it (a name or a body over its limit); nothing was sent. The deadline is
  /// for all of it, waiting for what others are sending too.
  Status send(const Message& message, const Deadline& until = Deadline::never());
  /// Of what was sent: what the peer's kernel has not confirmed yet.
  std::uint64_t unconfirmed();
  /// The next message. kProtocol: an unknown type, a length over its type's limit, a malformed body. kTimedOut: not a
  /// byte came for so long as the peer may be silent.
  Result<Message> receive();
  /// The same, by a deadline for all of it.
  Result<Message> receive(const Deadline& until);
  /// How long the peer may be silent; zero: for ever. Any thread; counts from the next message on.
  void set_silence(Duration silence) noexcept { silence_ = silence; }

 private:
  /// While it exists, nobody else sends.
  class Turn {
   public:
    static Result<Turn> await(ControlConnection& connection, const Deadline& until);
    Turn(Turn&& other) noexcept : of_(std::exchange(other.of_, nullptr)) {}
    Turn& operator=(Turn&&) = delete;
    ~Turn();

   private:
    explicit Turn(ControlConnection& of) : of_(&of) {}
    ControlConnection* of_;
  };

  template <typename Read>
  Result<Message> receive_by(Read read);

  Channel& channel_;
  std::atomic<Duration> silence_;
  std::mutex mutex_;
  std::condition_variable turn_is_free_;
  bool sending_ = false;
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
