#include "app/option_values.h"

#include <fmt/format.h>
#include <sys/un.h>

#include <algorithm>
#include <charconv>
#include <limits>

#include "engine/goals.h"
#include "tls/host_name.h"
#include "wire/limits.h"

namespace godwit {

namespace {

// The kernel's limit for a Unix socket's path, less its closing zero.
constexpr std::size_t kLongestSocketPath = sizeof(sockaddr_un::sun_path) - 1;

// Below this the device state alone would take minutes; above, no link exists.
constexpr BitRate kLeastBandwidth{1'000'000};
constexpr BitRate kMostBandwidth{10'000'000'000'000};

// As long as a CA of `godwit keygen` is valid.
constexpr std::uint64_t kMostDays = 3650;

tl::unexpected<Error> refuse(std::string_view option, std::string_view text, std::string_view what_is_valid) {
  return fail(ErrorKind::kInvalidArgument, fmt::format("{}: invalid value '{}'; {}", option, text, what_is_valid));
}

/// A whole number in [least, most].
Result<std::uint64_t> whole_number(std::string_view option, std::string_view text, std::uint64_t least,
                                   std::uint64_t most) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  if (whole && value >= least && value <= most) return value;
  return refuse(option, text, fmt::format("write a whole number from {} to {}", least, most));
}

}  // namespace

Result<unsigned> lanes_value(std::string_view option, const std::string& text) {
  return static_cast<unsigned>(TRY(whole_number(option, text, 1, wire::kMaxLanes)));
}

Result<unsigned> at_once_value(std::string_view option, const std::string& text) {
  return static_cast<unsigned>(TRY(whole_number(option, text, 1, kMostVmsAtOnce)));
}

Result<unsigned> encoding_threads_value(std::string_view option, const std::string& text) {
  return static_cast<unsigned>(TRY(whole_number(option, text, 0, kMostEncodingThreads)));
}

Result<pid_t> pid_value(std::string_view option, const std::string& text) {
  // Linux gives out process ids up to 2^22.
  return static_cast<pid_t>(TRY(whole_number(option, text, 1, 1U << 22U)));
}

Result<Duration> duration_value(std::string_view option, const std::string& text, Duration least, Duration most) {
  const Duration value = TRY_IN(option, parse_duration(text));
  if (value >= least && value <= most) return value;
  return refuse(option, text, fmt::format("write {} to {}", format_duration(least), format_duration(most)));
}

Result<BitRate> bandwidth_value(std::string_view option, const std::string& text) {
  const BitRate value = TRY_IN(option, parse_bit_rate(text));
  if (value >= kLeastBandwidth && value <= kMostBandwidth) return value;
  return refuse(option, text, "write 1Mbit to 10Tbit");
}

Result<ProgressMode> progress_value(std::string_view option, const std::string& text) {
  if (text == "auto") return ProgressMode::kAuto;
  if (text == "bar") return ProgressMode::kBar;
  if (text == "json") return ProgressMode::kJson;
  if (text == "none") return ProgressMode::kNone;
  return refuse(option, text, "write auto, bar, json or none");
}

Result<std::optional<DeviceWay>> devices_value(std::string_view option, const std::string& text) {
  if (text == "auto") return std::optional<DeviceWay>{};
  for (const auto way : {DeviceWay::kDirect, DeviceWay::kStream}) {
    if (text == name_of(way)) return std::optional(way);
  }
  return fail(ErrorKind::kInvalidArgument, fmt::format("{}: '{}' is not auto, direct or stream", option, text));
}

Result<CodecDevice> decoder_value(std::string_view option, const std::string& text) {
  if (text == "cpu") return CodecDevice::kCpu;
  const auto codec = parse_codec(text);
  if (codec && codec->device != CodecDevice::kCpu) return codec->device;
  return fail(ErrorKind::kInvalidArgument, fmt::format("{}: '{}' is not cpu, qat or iaa", option, text));
}

Result<double> percent_value(std::string_view option, const std::string& text, unsigned most) {
  std::string_view digits = text;
  if (digits.ends_with('%')) digits.remove_suffix(1);
  unsigned value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc{} || end != digits.data() + digits.size() || value > most) {
    return refuse(option, text, fmt::format("write 0% to {}%", most));
  }
  return value / 100.0;
}

Result<OnDeadline> on_deadline_value(std::string_view option, const std::string& text) {
  if (text == "cancel") return OnDeadline::kCancel;
  if (text == "pause") return OnDeadline::kPause;
  if (text == "postcopy") return OnDeadline::kPostcopy;
  return refuse(option, text, "write cancel, pause or postcopy");
}

Result<bool> free_pages_value(std::string_view option, const std::string& text) {
  if (text == "skip") return true;
  if (text == "send") return false;
  return refuse(option, text, "write skip or send");
}

Result<LogLevel> log_level_value(std::string_view option, const std::string& text) {
  if (const auto level = log_level_from(text)) return *level;
  return refuse(option, text, "write error, warning, info or debug");
}

Result<std::string> socket_path_value(std::string_view option, const std::string& text) {
  if (text.empty()) return refuse(option, text, "write the path of QEMU's monitor socket, e.g. /run/vm1.qmp");
  if (text.size() > kLongestSocketPath) {
    return refuse(option, text, fmt::format("a Unix socket's path has at most {} bytes", kLongestSocketPath));
  }
  return text;
}

Result<std::string> host_value(std::string_view option, const std::string& text) {
  TRY_IN(option, check_host_name(text));
  return text;
}

Result<std::vector<std::string>> host_names_value(std::string_view option, const std::string& text) {
  std::vector<std::string> names;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    names.push_back(TRY(host_value(option, text.substr(begin, end - begin))));
    begin = end + 1;
  }
  return names;
}

Result<unsigned> days_value(std::string_view option, const std::string& text) {
  return static_cast<unsigned>(TRY(whole_number(option, text, 1, kMostDays)));
}

Result<std::string> file_value(std::string_view option, const std::string& text) {
  if (text.empty()) return refuse(option, text, "write a file's path, e.g. /tmp/report.json");
  return text;
}

}  // namespace godwit
