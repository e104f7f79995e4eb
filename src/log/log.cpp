#include "log/log.h"

#include <array>
#include <mutex>
#include <utility>

#include "log/log_format.h"
#include "log/log_writer.h"

namespace godwit {

namespace {

struct LevelName {
  LogLevel level;
  std::string_view name;
};
constexpr std::array kLevelNames = {LevelName{LogLevel::kError, "error"}, LevelName{LogLevel::kWarning, "warning"},
                                    LevelName{LogLevel::kInfo, "info"}, LevelName{LogLevel::kDebug, "debug"}};

}  // namespace

std::string_view name_of(LogLevel level) noexcept {
  for (const auto& each : kLevelNames) {
    if (each.level == level) return each.name;
  }
  return "unknown";
}

std::optional<LogLevel> log_level_from(std::string_view name) noexcept {
  for (const auto& each : kLevelNames) {
    if (each.name == name) return each.level;
  }
  return std::nullopt;
}

struct Log::State {
  std::shared_ptr<LogWriter> writer;
  const Clock& clock;
  WallClock wall_clock;
  std::mutex mutex;  ///< guards what follows
  Instant began;
  std::string id;
};

Log::Log(std::shared_ptr<LogWriter> writer, LogLevel level, const Clock& clock, WallClock wall_clock) : level_(level) {
  if (writer) state_.reset(new State{std::move(writer), clock, std::move(wall_clock), {}, clock.now(), {}});
}

void Log::begin_migration(std::string_view id) const {
  if (!state_) return;
  const std::lock_guard lock(state_->mutex);
  state_->id = id;
  state_->began = state_->clock.now();
}

void Log::write(LogLevel level, std::string_view event, LogFields fields) const {
  // Held until the line is in the queue: lines of one migration are in the order of their times.
  const std::lock_guard lock(state_->mutex);
  state_->writer->post({.at = state_->wall_clock(),
                        .level = level,
                        .id = state_->id,
                        .elapsed = state_->clock.now() - state_->began,
                        .event = event,
                        .fields = {fields.begin(), fields.size()}});
}

}  // namespace godwit
