// QMP: commands to a QEMU over its monitor socket, and its events.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace godwit::qemu {

using Json = nlohmann::json;

/// One monitor connection with a reader thread of its own. execute() from any thread, one at a time inside.
class Qmp {
 public:
  virtual ~Qmp() = default;

  /// Runs a command. kHypervisor with QEMU's own words if it refuses; kUnsupported if it does not know the command;
  /// kPeerLost if QEMU is gone ("QEMU closed its monitor"); kTimedOut after 30 s without an answer.
  virtual Result<Json> execute(std::string_view command, const Json& arguments) = 0;
  Result<Json> execute(std::string_view command);
  /// A command of the human monitor; its output as text.
  Result<std::string> human(std::string_view command_line);
  /// A command that takes a descriptor with it (getfd, add-fd); `fd` stays the caller's.
  virtual Result<Json> execute_with_descriptor(std::string_view command, const Json& arguments, int fd) = 0;
  /// Hands a descriptor to QEMU under a name (getfd), for "fd:NAME".
  Status give_descriptor(std::string_view name, int fd);

  /// Called for every event from the reader thread, with the instant at which QEMU emitted it (by its timestamp: it may
  /// arrive milliseconds later, because QEMU writes events when its main loop comes round); must not call execute().
  /// Replaces the previous one; returns only when the previous one is not running any more. {} for none.
  using OnEvent = std::function<void(const std::string& name, const Json& data, Instant at)>;
  virtual void on_event(OnEvent handler) = 0;
  /// Called once from the reader thread when the connection is lost; at once if it has been lost already.
  virtual void on_lost(std::function<void()> handler) = 0;

  /// The process at the other end (SO_PEERCRED): the one that listens, as a rule QEMU itself.
  virtual pid_t peer_pid() const noexcept = 0;
};

/// How long and how much a connection bears.
struct QmpLimits {
  Duration greeting = std::chrono::seconds(5);  ///< a monitor that serves another client accepts, and says nothing
  Duration command = std::chrono::seconds(30);  ///< QEMU answers in milliseconds unless its main loop hangs
  std::size_t line = std::size_t{64} << 20;     ///< bytes of one answer; a large VM's reach some MiB
};

/// Connects to a monitor (a Unix socket path), negotiates. kNotFound, kNoPermission, kRefused ("another client holds
/// this monitor": a QEMU monitor socket serves one client at a time).
Result<std::unique_ptr<Qmp>> connect_qmp(const std::string& path, const Clock& clock, const QmpLimits& limits = {});

/// The process that listens at a monitor, which is not waited for: a QEMU whose main thread is stopped by a page that
/// is missing answers nobody.
Result<pid_t> listener_of(const std::string& path);

}  // namespace godwit::qemu
