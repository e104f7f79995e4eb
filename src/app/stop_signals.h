// Ctrl-C, SIGTERM and SIGHUP as a stop token.
#pragma once

#include <stop_token>
#include <thread>

namespace godwit {

/// What a terminal that has gone means (SIGHUP): the end of a command, whose guest must not be left paused. A service
/// goes on, for what rotates logs or closes terminals does not mean it.
enum class OnHangUp { kStop, kGoOn };

/// Must be made before any other thread: it blocks the signals for all of them and waits for them on its own. It also
/// makes SIGPIPE and the terminal's stop signals harmless, and sees to it that children can be waited for.
class StopSignals {
 public:
  explicit StopSignals(OnHangUp on_hang_up = OnHangUp::kStop);
  ~StopSignals();
  std::stop_token token() const noexcept { return source_.get_token(); }

 private:
  std::stop_source source_;
  std::jthread waiter_;
};

}  // namespace godwit
