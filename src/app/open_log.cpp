#include "app/open_log.h"

#include <fmt/format.h>
#include <unistd.h>

namespace godwit {

Result<OpenedLog> open_log(const LogOptions& options, const Clock& clock, const char* journal_stream) {
  std::unique_ptr<LogTarget> target;
  if (!options.file.empty()) {
    target = TRY_IN("--log-file", open_log_file(options.file));
  } else if (is_journal_stream(journal_stream, STDERR_FILENO)) {
    // Nobody asked for it: without it the move goes on, and its notes reach the journal by stderr.
    if (auto journal = open_journal_log()) target = std::move(*journal);
  }
  OpenedLog opened;
  if (target == nullptr) return opened;
  opened.writer = std::make_shared<LogWriter>(std::move(target));
  opened.log = Log(opened.writer, options.level, clock);
  return opened;
}

std::string describe_lost_lines(const OpenedLog& log) {
  const auto lost = log.writer ? log.writer->lost() : 0;
  if (lost == 0) return {};
  return fmt::format("{} of the log could not be written", lost == 1 ? "a line" : fmt::format("{} lines", lost));
}

}  // namespace godwit
