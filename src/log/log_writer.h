// Writes a log on a thread of its own, by a bounded queue.
#pragma once

#include <cstdint>
#include <memory>

#include "log/log_target.h"

namespace godwit {

class LogWriter {
 public:
  explicit LogWriter(std::unique_ptr<LogTarget> target);
  /// Waits until all that was posted has been written.
  ~LogWriter();
  LogWriter(const LogWriter&) = delete;
  LogWriter& operator=(const LogWriter&) = delete;

  /// Waits for nobody: what does not fit pushes the oldest out. Any thread.
  void post(const LogRecord& record) noexcept;
  /// Records that were pushed out or could not be written, up to now.
  std::uint64_t lost() const noexcept;

 private:
  class Sink;
  struct Queue;
  std::unique_ptr<Queue> queue_;
};

}  // namespace godwit
