// Follows QEMU's events of a migration, so that nobody has to ask in the window that counts.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "base/wake.h"
#include "vmm/qemu/qmp.h"

namespace godwit::qemu {

/// What an event says has changed because somebody works on the VM, as a phrase; empty where it says nothing of the
/// kind. For the stretch in which QEMU cannot be asked: from the beginning of a hand-over to the commit.
std::string change_told_by(std::string_view event, const Json& data);

/// Listens from its construction to its end; the monitor has no other listener meanwhile.
class MigrationWatch {
 public:
  /// What has been seen since the watch began. `status` is empty until the first MIGRATION event.
  struct Seen {
    std::string status;
    std::uint64_t pass = 0;          ///< MIGRATION_PASS: 2 when all RAM has been sent once
    std::optional<Instant> stopped;  ///< the first STOP
    bool resumed = false;
    std::optional<Instant> resumed_at;  ///< the first RESUME, by QEMU's timestamp
    bool lost = false;                  ///< QEMU closed its monitor
    bool interrupted = false;
    std::string change;  ///< of what the VM consists of, or works on it; the first one, as a phrase
    /// The migration has come to an end, one way or the other.
    bool ended() const noexcept { return status == "completed" || status == "failed" || status == "cancelled"; }
  };

  /// `on_stop` is called from the monitor's reader thread at the first STOP, and at no other.
  explicit MigrationWatch(Qmp& qmp, std::function<void(Instant)> on_stop = {});
  ~MigrationWatch();
  MigrationWatch(const MigrationWatch&) = delete;
  MigrationWatch& operator=(const MigrationWatch&) = delete;

  Seen look() const;
  /// What was seen of stops so far is forgotten: they were somebody else's. `on_stop` as above, for the next one.
  void begin_to_see_stops(std::function<void(Instant)> on_stop);
  /// Somebody else's stop has been told: `on_stop` as above, for the next one. What was seen stays seen, a RESUME that
  /// came just now above all.
  void tell_of_next_stop(std::function<void(Instant)> on_stop);
  /// Waits until `ready` holds or the time is over: what has been seen then.
  Seen await(const std::function<bool(const Seen&)>& ready, Duration timeout);
  /// Wakes whoever waits; `interrupted` stays set.
  void interrupt() noexcept;
  /// Readable once the migration has ended, QEMU is lost, the VM has been changed, or interrupt() was called; stays
  /// so.
  int wake_descriptor() const noexcept { return wake_.descriptor(); }

 private:
  void change(const std::function<void(Seen&)>& make);
  Qmp& qmp_;
  std::function<void(Instant)> on_stop_;
  Wake wake_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Seen seen_;
};

}  // namespace godwit::qemu
