// Ctrl-C, SIGTERM and SIGHUP as a stop token.
#pragma once

#include <stop_token>
#include <thread>

namespace godwit {

/// Must be made before any other thread: it blocks the signals for all of them and waits for them on its own. It also
/// makes SIGPIPE and the terminal's stop signals harmless, and sees to it that children can be waited for.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  std::stop_token token() const noexcept { return source_.get_token(); }

 private:
  std::stop_source source_;
  std::jthread waiter_;
};

}  // namespace godwit
