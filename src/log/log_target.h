// Where a log goes: a file, or systemd's journal.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "log/log_format.h"

namespace godwit {

class LogTarget {
 public:
  virtual ~LogTarget() = default;
  /// Any thread.
  virtual std::string render(const LogRecord& record) const = 0;
  /// What render() gave, whole: false if that could not be written. From one thread; may block.
  virtual bool write(std::string_view rendered) noexcept = 0;
};

/// Appends to a file, which is made if it is not there; each line by one write, so that several processes may share it.
Result<std::unique_ptr<LogTarget>> open_log_file(const std::string& path);

/// systemd's journal at this socket.
Result<std::unique_ptr<LogTarget>> open_journal_log(const std::string& socket = "/run/systemd/journal/socket");

/// Whether `descriptor` is connected to systemd's journal, as $JOURNAL_STREAM says: a service's stderr is, and one that
/// it has redirected is not. `journal_stream` is the variable's text, or null.
bool is_journal_stream(const char* journal_stream, int descriptor) noexcept;

}  // namespace godwit
