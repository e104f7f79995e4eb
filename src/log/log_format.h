// A record of the log as text: pure functions.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "log/log.h"

namespace godwit {

struct LogRecord {
  std::chrono::system_clock::time_point at;
  LogLevel level = LogLevel::kInfo;
  std::string_view id;  ///< of the migration; empty before there is one
  Duration elapsed{};   ///< since the migration began
  std::string_view event;
  std::span<const LogField> fields;
};

/// "2026-11-27T15:01:02.123456Z info id=3f2a9c01d4e7 elapsed_us=812345 event=harvest pages=812 took_us=3100\n"
/// Without an id there is no `id`. Whatever a text holds, a record is one line.
std::string log_line(const LogRecord& record);

/// The same for systemd's journal, in its native protocol: MESSAGE, PRIORITY, SYSLOG_IDENTIFIER and, so that
/// `journalctl GODWIT_ID=...` finds them, each field as GODWIT_KEY.
std::string journal_datagram(const LogRecord& record);

/// A text as a value: as it is if it is a plain word, else in quotes, with control characters and what is not UTF-8 as
/// \n or \x1b. Cut where it is longer than any sentence.
std::string log_value(std::string_view text);

}  // namespace godwit
