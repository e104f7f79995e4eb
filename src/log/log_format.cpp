#include "log/log_format.h"

#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <iterator>

namespace godwit {

namespace {

// QEMU's last words may be some lines; a peer's reason is bounded by the wire.
constexpr std::size_t kLongestValue = 4000;

/// How many bytes at `at` are one character that may be in a log: not a control character (nor one of C1), and whole
/// and shortest UTF-8. 0: none.
std::size_t character_at(std::string_view text, std::size_t at) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = byte(at);
  if (first < 0x80) return first >= 0x20 && first != 0x7f ? 1 : 0;
  const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() - at < length) return 0;
  unsigned code = first & (0x7fU >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xc0U) != 0x80U) return 0;
    code = code << 6U | (byte(at + i) & 0x3fU);
  }
  const bool shortest = code >= (length == 2 ? 0x80U : length == 3 ? 0x800U : 0x10000U);
  const bool surrogate = code >= 0xd800 && code <= 0xdfff;
  // U+2028 and U+2029 end a line, too, for some who show it.
  const bool ends_line = code == 0x2028 || code == 0x2029;
  return shortest && !surrogate && !ends_line && code >= 0xa0 && code <= 0x10ffff ? length : 0;
}

void append_escaped(std::string& out, unsigned char byte) {
  switch (byte) {
    case '\n':
      out += "\\n";
      break;
    case '\r':
      out += "\\r";
      break;
    case '\t':
      out += "\\t";
      break;
    default:
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", byte);
  }
}

std::string shown(const LogField::Value& value) {
  if (const auto* text = std::get_if<std::string_view>(&value)) return log_value(*text);
  if (const auto* number = std::get_if<std::int64_t>(&value)) return fmt::format("{}", *number);
  if (const auto* number = std::get_if<std::uint64_t>(&value)) return fmt::format("{}", *number);
  if (const auto* number = std::get_if<double>(&value)) return fmt::format("{:.6g}", *number);
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  return fmt::format("{}", std::chrono::duration_cast<std::chrono::microseconds>(std::get<Duration>(value)).count());
}

std::string_view unit_of(const LogField::Value& value) noexcept {
  return std::holds_alternative<Duration>(value) ? "_us" : "";
}

std::string time_text(std::chrono::system_clock::time_point at) {
  const auto since = at.time_since_epoch();
  const auto seconds = std::chrono::floor<std::chrono::seconds>(since);
  const auto rest = std::chrono::duration_cast<std::chrono::microseconds>(since - seconds);
  const std::time_t whole = seconds.count();
  std::tm parts{};
  ::gmtime_r(&whole, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", parts.tm_year + 1900, parts.tm_mon + 1,
                     parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, rest.count());
}

std::string fields_text(std::span<const LogField> fields) {
  std::string out;
  for (const auto& [key, value] : fields) out += fmt::format(" {}{}={}", key, unit_of(value), shown(value));
  return out;
}

/// syslog's numbers.
int priority_of(LogLevel level) noexcept {
  switch (level) {
    case LogLevel::kError:
      return 3;
    case LogLevel::kWarning:
      return 4;
    case LogLevel::kInfo:
      return 6;
    case LogLevel::kDebug:
      break;
  }
  return 7;
}

/// No value that gets here has a line break, because log_value() has escaped it.
void append_field(std::string& datagram, std::string_view key, std::string_view value) {
  datagram += key;
  datagram += '=';
  datagram += value;
  datagram += '\n';
}

/// "took" and its unit: "GODWIT_TOOK_US".
std::string journal_key(std::string_view key, std::string_view unit) {
  std::string out = fmt::format("GODWIT_{}{}", key, unit);
  std::ranges::transform(out, out.begin(), [](char c) {
    if (c >= 'a' && c <= 'z') return static_cast<char>(c - 'a' + 'A');
    return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ? c : '_';
  });
  return out;
}

}  // namespace

std::string log_value(std::string_view text) {
  const std::string_view kept = text.substr(0, kLongestValue);
  std::string out;
  bool plain = !kept.empty() && kept.size() == text.size();
  for (std::size_t at = 0; at < kept.size();) {
    const std::size_t length = character_at(kept, at);
    if (length == 0) {
      plain = false;
      append_escaped(out, static_cast<unsigned char>(kept[at++]));
      continue;
    }
    if (kept[at] == '"' || kept[at] == '\\') out += '\\';
    if (std::string_view(" \"\\=").find(kept[at]) != std::string_view::npos) plain = false;
    out += kept.substr(at, length);
    at += length;
  }
  if (plain) return out;
  return fmt::format("\"{}{}\"", out, kept.size() < text.size() ? "..." : "");
}

std::string log_line(const LogRecord& record) {
  const std::string id = record.id.empty() ? "" : fmt::format(" id={}", log_value(record.id));
  return fmt::format("{} {}{} elapsed_us={} event={}{}\n", time_text(record.at), name_of(record.level), id,
                     shown(record.elapsed), log_value(record.event), fields_text(record.fields));
}

std::string journal_datagram(const LogRecord& record) {
  std::string out;
  append_field(out, "MESSAGE", log_value(record.event) + fields_text(record.fields));
  append_field(out, "PRIORITY", fmt::format("{}", priority_of(record.level)));
  append_field(out, "SYSLOG_IDENTIFIER", "godwit");
  if (!record.id.empty()) append_field(out, "GODWIT_ID", log_value(record.id));
  append_field(out, "GODWIT_EVENT", log_value(record.event));
  append_field(out, "GODWIT_ELAPSED_US", shown(record.elapsed));
  for (const auto& [key, value] : record.fields) append_field(out, journal_key(key, unit_of(value)), shown(value));
  return out;
}

}  // namespace godwit
