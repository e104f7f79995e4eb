// Follows what becomes of the guest while it is moved: QEMU's events of its end, of a stop, and of QEMU's own end.
//
// It is between a monitor and those who use it, because a monitor has room for one listener: events pass through to
// whoever listens here.
#pragma once

#include <mutex>
#include <optional>
#include <string>

#include "vmm/hypervisor.h"
#include "vmm/qemu/qmp.h"

namespace godwit::qemu {

/// Listens from its construction to its end. Any thread.
class LifeWatch final : public Qmp {
 public:
  explicit LifeWatch(Qmp& qmp);
  ~LifeWatch() override;
  LifeWatch(const LifeWatch&) = delete;
  LifeWatch& operator=(const LifeWatch&) = delete;

  struct Seen {
    std::string shutdown;    ///< SHUTDOWN's reason: "guest-shutdown", "host-qmp-quit", ...
    bool panicked = false;   ///< and does not go on
    bool suspended = false;  ///< and has not woken up
    bool stopped = false;    ///< STOP without RESUME, whoever did it
    bool resumed = false;    ///< at any time
    unsigned resumes = 0;    ///< how often
    bool lost = false;       ///< the monitor has been closed: by QEMU's end, or by whoever is between
  };
  Seen look() const;
  /// What it says of the guest without asking QEMU; nothing where only a STOP was seen, because that may be the
  /// engine's. Of a guest that has suspended itself only if that ends the move.
  std::optional<Halt> halt(bool suspended_too) const;

  using Qmp::execute;
  Result<Json> execute(std::string_view command, const Json& arguments) override;
  Result<Json> execute_with_descriptor(std::string_view command, const Json& arguments, int fd) override;
  void on_event(OnEvent handler) override;
  void on_lost(std::function<void()> handler) override;
  pid_t peer_pid() const noexcept override { return qmp_.peer_pid(); }

 private:
  void take(const std::string& name, const Json& data);

  Qmp& qmp_;
  mutable std::mutex mutex_;
  Seen seen_;
  std::mutex handler_mutex_;
  OnEvent on_event_;
  std::function<void()> on_lost_;
};

}  // namespace godwit::qemu
