// The forecast of a move that goes on, refreshed once a second from what its source has seen, and what the operator is
// told of it: early if it will not fit, and again whenever that changes.
#pragma once

#include <optional>
#include <string>

#include "engine/autopilot.h"
#include "engine/forecast_history.h"

namespace godwit {

/// What the copying of RAM has come to.
struct CopyFacts {
  double data_pages = 0;  ///< that are copied at all
  double first_left = 0;  ///< of them, not sent yet
  double waiting = 0;     ///< on the board, those included
  double pages_sent = 0;  ///< or looked at and found unchanged, each time counted
  double bytes_sent = 0;
  Duration handover{};  ///< what the hypervisor will be at work on before it can stop the guest
};

/// No clock: the time is Sample::elapsed.
class SourceForecast {
 public:
  explicit SourceForecast(const Goals& goals) : goals_(goals) {}

  /// Other goals than before.
  void use(const Goals& goals) {
    goals_ = goals;
    goals_.order = Order::kNone;  // foreseen is what would happen without it
  }
  /// While memory is copied, several times a second.
  void look(const Sample& sample, const CopyFacts& facts);
  /// What is being measured ends here: the link is lost.
  void forget_rate() noexcept { rate_since_.reset(); }
  /// The latest; nothing before two harvests and a rate are known.
  const std::optional<Forecast>& latest() const noexcept { return latest_; }
  /// Until the end, by the latest forecast; nothing where no end is in sight.
  std::optional<Duration> time_left(Duration elapsed) const;
  /// What the operator has not been told yet, once.
  std::optional<std::string> take_note();

 private:
  ForecastInput input(const Sample& sample, const CopyFacts& facts) const;
  void look_at_rate(const Sample& sample, const CopyFacts& facts);
  void tell_changes(const ForecastInput& input);

  Goals goals_;
  ForecastHistory history_;
  std::uint64_t harvests_ = 0;
  std::optional<Duration> rate_since_;
  double rate_bytes_ = 0;
  std::optional<Duration> made_at_;
  std::optional<Forecast> latest_;
  bool said_trouble_ = false;  ///< the last that was said is that it will not fit
  Duration said_total_{};
  int unlike_ = 0;  ///< forecasts in a row that differ from what was said
  std::optional<std::string> note_;
};

}  // namespace godwit
