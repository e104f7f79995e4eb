// One option's text to its value, within its bounds. Each error names the option, its text, and what would do.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "app/command_line.h"
#include "base/result.h"
#include "base/units.h"

namespace godwit {

Result<unsigned> lanes_value(std::string_view option, const std::string& text);
Result<unsigned> at_once_value(std::string_view option, const std::string& text);
Result<unsigned> encoding_threads_value(std::string_view option, const std::string& text);
Result<pid_t> pid_value(std::string_view option, const std::string& text);
Result<Duration> duration_value(std::string_view option, const std::string& text, Duration least, Duration most);
Result<BitRate> bandwidth_value(std::string_view option, const std::string& text);
Result<ProgressMode> progress_value(std::string_view option, const std::string& text);
/// "skip" or "send": true to skip.
/// "30%" or "30": 0.3.
Result<double> percent_value(std::string_view option, const std::string& text, unsigned most);
Result<OnDeadline> on_deadline_value(std::string_view option, const std::string& text);
Result<bool> free_pages_value(std::string_view option, const std::string& text);
/// "auto" (nothing), "direct" or "stream".
Result<std::optional<DeviceWay>> devices_value(std::string_view option, const std::string& text);
Result<CodecDevice> decoder_value(std::string_view option, const std::string& text);  ///< of `receive`
/// A path of a Unix socket: not empty and short enough for the kernel.
Result<std::string> socket_path_value(std::string_view option, const std::string& text);
Result<LogLevel> log_level_value(std::string_view option, const std::string& text);
/// A host's name or address.
Result<std::string> host_value(std::string_view option, const std::string& text);
/// Several of one host, with commas between them.
Result<std::vector<std::string>> host_names_value(std::string_view option, const std::string& text);
/// How many days a certificate is valid.
Result<unsigned> days_value(std::string_view option, const std::string& text);
Result<std::string> file_value(std::string_view option, const std::string& text);

}  // namespace godwit
