// Opens the log that the command line asks for, or else, for a service of systemd, the journal.
#pragma once

#include <memory>

#include "app/command_line.h"
#include "log/log.h"
#include "log/log_writer.h"

namespace godwit {

struct OpenedLog {
  std::shared_ptr<LogWriter> writer;  ///< null: there is no log
  Log log;
};

/// To be called when no signal's mask is going to change any more: the writer has a thread. `journal_stream` is the
/// text of $JOURNAL_STREAM, or null. An error names the option.
Result<OpenedLog> open_log(const LogOptions& options, const Clock& clock, const char* journal_stream);

/// "3 lines of the log could not be written", or nothing.
std::string describe_lost_lines(const OpenedLog& log);

}  // namespace godwit
