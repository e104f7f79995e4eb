// A job's thread and its result: started at once, cancelled or not, waited for by whoever wants to.
#pragma once

#include <functional>
#include <optional>
#include <stop_token>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/cpu_account.h"
#include "engine/mailbox.h"

namespace godwit {

template <typename Report>
class JobThread {
 public:
  explicit JobThread(std::function<Report(std::stop_token)> run)
      : thread_([this, run = std::move(run)](std::stop_token) {
          const ChargedTo charged(std::make_shared<CpuAccount>());
          Report report = run(cancel_.get_token());
          report_.change([&](std::optional<Report>& kept) { kept = std::move(report); });
        }) {}
  /// Cancels, and waits.
  ~JobThread() { cancel(); }

  /// Wakes whatever the job waits for. Without effect once it has been committed or has ended. Any thread.
  void cancel() noexcept { cancel_.request_stop(); }
  /// Until the job has ended. Any thread, as often as wanted.
  Report wait() const {
    while (true) {
      if (auto report = report_.await([](const std::optional<Report>& r) { return r.has_value(); }, kLookAgain)) {
        return *std::move(report);
      }
    }
  }
  bool ended() const { return report_.look().has_value(); }

 private:
  static constexpr Duration kLookAgain = std::chrono::hours(1);
  std::stop_source cancel_;
  mutable Mailbox<std::optional<Report>> report_;
  std::jthread thread_;
};

}  // namespace godwit
