#include "vmm/qemu/migration_watch.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "vmm/qemu/json_access.h"

namespace godwit::qemu {

std::string change_told_by(std::string_view event, const Json& data) {
  if (event == "JOB_STATUS_CHANGE") {
    // Jobs that have ended and wait to be dismissed do nothing any more.
    const std::string status = text_at(data, "status");
    if (status == "concluded" || status == "null") return {};
    return fmt::format("job '{}' has been started", text_at(data, "id"));
  }
  if (event == "DEVICE_DELETED") {
    const std::string name = text_at(data, "device");
    return fmt::format("device '{}' has been removed", name.empty() ? text_at(data, "path") : name);
  }
  if (event == "MEMORY_DEVICE_SIZE_CHANGE") {
    return fmt::format("memory device '{}' has been resized", text_at(data, "id"));
  }
  return {};
}

MigrationWatch::MigrationWatch(Qmp& qmp, std::function<void(Instant)> on_stop)
    : qmp_(qmp), on_stop_(std::move(on_stop)) {
  qmp_.on_event([this](const std::string& name, const Json& data, Instant at) {
    if (name == "STOP") {
      std::function<void(Instant)> tell;
      change([&](Seen& seen) {
        seen.stopped = seen.stopped.value_or(at);
        tell = std::exchange(on_stop_, {});
      });
      if (tell) tell(at);
    } else if (name == "RESUME") {
      change([at](Seen& seen) {
        seen.resumed = true;
        seen.resumed_at = seen.resumed_at.value_or(at);
      });
    } else if (name == "MIGRATION") {
      change([&](Seen& seen) { seen.status = text_at(data, "status"); });
    } else if (name == "MIGRATION_PASS") {
      change([&](Seen& seen) { seen.pass = number_at(data, "pass"); });
    } else if (std::string told = change_told_by(name, data); !told.empty()) {
      change([&](Seen& seen) {
        if (seen.change.empty()) seen.change = std::move(told);
      });
    }
  });
  qmp_.on_lost([this] { change([](Seen& seen) { seen.lost = true; }); });
}

MigrationWatch::~MigrationWatch() {
  qmp_.on_event({});
  qmp_.on_lost({});
}

MigrationWatch::Seen MigrationWatch::look() const {
  const std::lock_guard lock(mutex_);
  return seen_;
}

void MigrationWatch::begin_to_see_stops(std::function<void(Instant)> on_stop) {
  const std::lock_guard lock(mutex_);
  seen_.stopped.reset();
  seen_.resumed = false;
  seen_.resumed_at.reset();
  on_stop_ = std::move(on_stop);
}

void MigrationWatch::tell_of_next_stop(std::function<void(Instant)> on_stop) {
  const std::lock_guard lock(mutex_);
  on_stop_ = std::move(on_stop);
}

MigrationWatch::Seen MigrationWatch::await(const std::function<bool(const Seen&)>& ready, Duration timeout) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, timeout, [&] { return ready(seen_); });
  return seen_;
}

void MigrationWatch::interrupt() noexcept {
  change([](Seen& seen) { seen.interrupted = true; });
}

void MigrationWatch::change(const std::function<void(Seen&)>& make) {
  const std::lock_guard lock(mutex_);
  make(seen_);
  changed_.notify_all();
  if (!seen_.ended() && !seen_.lost && !seen_.interrupted && seen_.change.empty()) return;
  wake_.wake();
}

}  // namespace godwit::qemu
