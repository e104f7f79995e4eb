#include "vmm/qemu/migration_end.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>
#include <thread>

#include "vmm/qemu/json_access.h"

namespace godwit::qemu {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// A roll-back is over in 1-7 ms as a rule: ask often at first, and seldom of a QEMU that is long about it.
constexpr auto kFirstPause = milliseconds(1);
constexpr auto kLongestPause = milliseconds(50);

class Pauses {
 public:
  explicit Pauses(Duration timeout) : deadline_(steady_clock::now() + timeout) {}
  bool over() const { return steady_clock::now() > deadline_; }
  void wait() {
    std::this_thread::sleep_for(pause_);
    pause_ = std::min(pause_ * 2, kLongestPause);
  }

 private:
  steady_clock::time_point deadline_;
  milliseconds pause_ = kFirstPause;
};

bool cannot_run(std::string_view status) {
  constexpr std::array kEnded = {"shutdown", "internal-error", "guest-panicked"};
  for (const std::string_view ended : kEnded) {
    if (status == ended) return true;
  }
  return false;
}

}  // namespace

Result<std::string> await_migration_end(Qmp& qmp, Duration timeout) {
  Pauses pauses(timeout);
  for (;;) {
    const std::string status = text_at(TRY(qmp.execute("query-migrate")), "status");
    if (has_ended(status)) return status.empty() ? "none" : status;
    if (pauses.over()) {
      return fail(ErrorKind::kTimedOut, fmt::format("QEMU's migration does not end: it is still '{}'", status));
    }
    if (status != "cancelling") TRY(qmp.execute("migrate_cancel"));
    pauses.wait();
  }
}

Status let_run(Qmp& qmp, Duration timeout) {
  Pauses pauses(timeout);
  for (;;) {
    const Json state = TRY(qmp.execute("query-status"));
    const std::string status = text_at(state, "status");
    // A suspended guest (ACPI S3) waits for its user to wake it, and does so here.
    if (bool_at(state, "running") || status == "suspended") return {};
    if (cannot_run(status)) {
      return fail(ErrorKind::kHypervisor, fmt::format("the guest cannot run any more: QEMU says '{}'", status));
    }
    // QEMU refuses between the end of a migration and the moment in which its own state has followed.
    auto let = qmp.execute("cont");
    if (!let && (let.error().kind != ErrorKind::kHypervisor || pauses.over())) return fail(std::move(let).error());
    if (let && pauses.over()) return fail(ErrorKind::kTimedOut, fmt::format("the guest stays '{}'", status));
    if (!let) pauses.wait();
  }
}

}  // namespace godwit::qemu
