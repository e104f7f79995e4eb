#include "vmm/qemu/life_watch.h"

#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "vmm/qemu/json_access.h"

namespace godwit::qemu {
namespace {

struct Reason {
  std::string_view name;
  const char* what;
};

// Why QEMU shuts a guest down (ShutdownCause).
constexpr std::array kReasons = {
    Reason{"guest-shutdown", "the guest has shut down"},
    Reason{"guest-reset", "the guest has rebooted, and this QEMU ends then (-no-reboot)"},
    Reason{"guest-panic", "the guest has panicked"},
    Reason{"host-qmp-quit", "QEMU has been told to quit, and the guest has ended with it"},
    Reason{"host-signal", "QEMU has been ended by a signal, and the guest with it"},
    Reason{"host-ui", "QEMU's window has been closed, and the guest has ended with it"},
    Reason{"host-qmp-system-reset", "the guest has been reset, and this QEMU ends then (-no-reboot)"},
};

std::string shutdown_text(std::string_view reason) {
  for (const auto& known : kReasons) {
    if (known.name == reason) return known.what;
  }
  return "the guest has shut down";
}

}  // namespace

LifeWatch::LifeWatch(Qmp& qmp) : qmp_(qmp) {
  qmp_.on_event([this](const std::string& name, const Json& data, Instant at) {
    take(name, data);
    const std::lock_guard lock(handler_mutex_);
    if (on_event_) on_event_(name, data, at);
  });
  qmp_.on_lost([this] {
    {
      const std::lock_guard lock(mutex_);
      seen_.lost = true;
    }
    const std::lock_guard lock(handler_mutex_);
    if (const auto handler = std::exchange(on_lost_, {})) handler();
  });
}

LifeWatch::~LifeWatch() {
  qmp_.on_event({});
  qmp_.on_lost({});
}

Result<Json> LifeWatch::execute(std::string_view command, const Json& arguments) {
  return qmp_.execute(command, arguments);
}

Result<Json> LifeWatch::execute_with_descriptor(std::string_view command, const Json& arguments, int fd) {
  return qmp_.execute_with_descriptor(command, arguments, fd);
}

void LifeWatch::on_event(OnEvent handler) {
  const std::lock_guard lock(handler_mutex_);
  on_event_ = std::move(handler);
}

void LifeWatch::on_lost(std::function<void()> handler) {
  const std::lock_guard lock(handler_mutex_);
  if (handler && look().lost) return handler();
  on_lost_ = std::move(handler);
}

void LifeWatch::take(const std::string& name, const Json& data) {
  const std::lock_guard lock(mutex_);
  if (name == "SHUTDOWN") {
    // A panic that ends QEMU is told as two events; an older QEMU may give no reason.
    const std::string reason = text_at(data, "reason");
    seen_.shutdown = reason.empty() ? "guest-shutdown" : reason;
  } else if (name == "GUEST_PANICKED") {
    seen_.panicked = text_at(data, "action") != "run";
  } else if (name == "SUSPEND") {
    seen_.suspended = true;
  } else if (name == "STOP") {
    seen_.stopped = true;
  } else if (name == "RESUME" || name == "WAKEUP") {
    seen_.stopped = seen_.suspended = false;
    seen_.resumed = true;
    ++seen_.resumes;
  }
}

LifeWatch::Seen LifeWatch::look() const {
  const std::lock_guard lock(mutex_);
  return seen_;
}

std::optional<Halt> LifeWatch::halt(bool suspended_too) const {
  const Seen seen = look();
  if (seen.panicked) return Halt{Halt::Kind::kEnded, "the guest has panicked"};
  if (!seen.shutdown.empty()) return Halt{Halt::Kind::kEnded, shutdown_text(seen.shutdown)};
  if (seen.suspended && suspended_too) return Halt{Halt::Kind::kPaused, "the guest has suspended itself to RAM"};
  return std::nullopt;
}

}  // namespace godwit::qemu
