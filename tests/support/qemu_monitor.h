// A small QMP client of the tests' own: they must not trust the one under test to tell what QEMU did.
#pragma once

#include <chrono>
#include <deque>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace godwit::testing {

using Json = nlohmann::json;

/// One thread at a time. Every wait has a limit.
class QemuMonitor {
 public:
  /// Connects (waits for the socket to appear) and negotiates.
  static Result<std::unique_ptr<QemuMonitor>> connect(const std::filesystem::path& socket,
                                                      std::chrono::milliseconds limit);

  /// What the command returned; kHypervisor with QEMU's words if it refuses, kPeerLost if QEMU is gone.
  Result<Json> execute(const std::string& command, const Json& arguments = Json::object());
  /// A command of the human monitor.
  Result<std::string> human(const std::string& line);
  /// The next event of this name, from those that came already or within `limit`.
  Result<Json> wait_for_event(const std::string& name, std::chrono::milliseconds limit);
  /// Whether such an event has come; reads what is there, takes none away.
  Result<bool> has_seen(const std::string& name);
  void forget_events() { events_.clear(); }

 private:
  explicit QemuMonitor(UniqueFd socket) : socket_(std::move(socket)) {}
  Result<Json> read_message(std::chrono::milliseconds limit);
  UniqueFd socket_;
  std::string pending_;
  std::deque<Json> events_;
};

}  // namespace godwit::testing
