// Something that is done if nobody calls it off in time.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "base/clock.h"

namespace godwit {

class Alarm {
 public:
  /// `late` is called once, from a thread of the alarm's own. The clock outlives it.
  Alarm(const Clock& clock, Duration after, std::function<void()> late)
      : thread_([&clock, until = clock.now() + after, late = std::move(late)](const std::stop_token& stop) {
          // A clock in a test wakes nobody.
          constexpr Duration kClockStep = std::chrono::milliseconds(50);
          std::mutex mutex;
          std::condition_variable_any changed;
          std::unique_lock lock(mutex);
          while (!stop.stop_requested()) {
            if (clock.now() >= until) return late();
            changed.wait_for(lock, stop, kClockStep, [] { return false; });
          }
        }) {}
  // Destroyed, it has been called off; if it is being done, it has been done then.

 private:
  std::jthread thread_;
};

}  // namespace godwit
