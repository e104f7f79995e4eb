// The side that has started this `godwit receive` by a remote shell, as it is seen from here: standard input and
// output.
//
//   in:   the shared key, on one line; then a line now and then; its end is the near side's, or the connection's
//   out:  messages (remote_message.h)
#pragma once

#include <functional>
#include <string>
#include <thread>

#include "base/clock.h"
#include "base/key_bytes.h"
#include "base/result.h"
#include "base/wake.h"
#include "remote/remote_message.h"

namespace godwit {

/// For so long nothing may come in. The near side gives a sign of life every 5 s, by a link that the move may fill.
inline constexpr Duration kNearSideSilence = std::chrono::seconds(60);

class NearSide {
 public:
  /// Descriptors that outlive it.
  NearSide(int in, int out) : in_(in), out_(out) {}
  ~NearSide();

  /// As much as can be written: a near side that has gone must not end what goes on here. SIGPIPE must be ignored.
  void tell(const RemoteMessage& message);

  /// The first line that comes in. kPeerLost at the end of input, kTimedOut, kProtocol for a line that is too long.
  Result<KeyBytes> key_line(Duration limit = std::chrono::seconds(60));

  /// Calls `on_gone` once, from a thread of its own, when input ends, or is silent for too long: which of the two, as a
  /// sentence. After key_line().
  void watch(std::function<void(const std::string& why)> on_gone, Duration silence = kNearSideSilence);
  /// When this returns, `on_gone` is not called any more.
  void watch_no_more();

 private:
  enum class Heard { kSomething, kEnd, kNothing };
  Heard wait_for_more(Duration limit);
  int in_;
  int out_;
  bool told_ = false;  ///< something
  Wake wake_;
  std::jthread thread_;
};

/// The address by which ssh has come to this host, to listen on a port of the kernel's choice; `connection` is the
/// variable SSH_CONNECTION, or null. kInvalidArgument where it does not say.
Result<Address> address_of_ssh(const char* connection);

}  // namespace godwit
