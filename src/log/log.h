// The log: one line of key=value fields for each thing that an operator may want to know afterwards.
//
//   engine, app --Log--> LogTarget::render() --> LogWriter's queue --its thread--> LogTarget::write() --> file, journal
//
// Whoever logs waits for nobody: the queue is bounded, and where the disk behind it does not answer the oldest lines
// are dropped and counted. A line is written as soon as the writer's thread gets a CPU; nothing is kept back until the
// end.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>

#include "base/clock.h"

namespace godwit {

class LogWriter;

enum class LogLevel { kError, kWarning, kInfo, kDebug };
std::string_view name_of(LogLevel level) noexcept;  ///< "error", "warning", "info", "debug"
std::optional<LogLevel> log_level_from(std::string_view name) noexcept;

/// A key and its value. Texts are only looked at during the call. A duration `took` is written as `took_us`, in whole
/// microseconds.
struct LogField {
  using Value = std::variant<std::string_view, std::int64_t, std::uint64_t, double, bool, Duration>;

  template <typename T>
  LogField(std::string_view name, const T& content) noexcept : key(name), value(value_of(content)) {}

  std::string_view key;
  Value value;

 private:
  template <typename T>
  static Value value_of(const T& content) noexcept {
    if constexpr (std::same_as<T, bool>) {
      return content;
    } else if constexpr (std::signed_integral<T>) {
      return std::int64_t{content};
    } else if constexpr (std::unsigned_integral<T>) {
      return std::uint64_t{content};
    } else if constexpr (std::floating_point<T>) {
      return static_cast<double>(content);
    } else if constexpr (std::convertible_to<T, Duration>) {
      return Duration(content);
    } else {
      return std::string_view(content);
    }
  }
};

using LogFields = std::initializer_list<LogField>;
/// The time of day. Tests give another.
using WallClock = std::function<std::chrono::system_clock::time_point()>;

/// One migration's access to a log. Copies speak for the same migration; one that was made without a writer says
/// nothing, for the price of a branch. Any thread.
class Log {
 public:
  Log() = default;
  /// Lines up to `level` go to `writer`; both clocks outlive all copies.
  Log(std::shared_ptr<LogWriter> writer, LogLevel level, const Clock& clock,
      WallClock wall_clock = std::chrono::system_clock::now);

  /// From here on the lines carry this id, and their time counts from now.
  void begin_migration(std::string_view id) const;

  /// For a caller that would have to make a field's text first.
  bool on(LogLevel level) const noexcept { return state_ != nullptr && level <= level_; }

  void error(std::string_view event, LogFields fields = {}) const { write_if_on(LogLevel::kError, event, fields); }
  void warning(std::string_view event, LogFields fields = {}) const { write_if_on(LogLevel::kWarning, event, fields); }
  void info(std::string_view event, LogFields fields = {}) const { write_if_on(LogLevel::kInfo, event, fields); }
  void debug(std::string_view event, LogFields fields = {}) const { write_if_on(LogLevel::kDebug, event, fields); }

 private:
  struct State;
  void write_if_on(LogLevel level, std::string_view event, LogFields fields) const {
    if (on(level)) write(level, event, fields);
  }
  void write(LogLevel level, std::string_view event, LogFields fields) const;

  std::shared_ptr<State> state_;
  LogLevel level_ = LogLevel::kError;
};

}  // namespace godwit
