#include "engine/source_progress.h"

#include <fmt/format.h>

#include <algorithm>

namespace godwit {

namespace {
constexpr Duration kShowEvery = std::chrono::milliseconds(100);
// Of a guest that writes too fast no more is said, however much of its memory has been sent.
constexpr double kNearlyDone = 0.95;
// Disks take milliseconds to finish their requests.
constexpr Duration kDisksAreSlow = std::chrono::seconds(2);
}  // namespace

namespace {
std::string whole_seconds(Duration time) {
  return fmt::format("{} s", std::chrono::duration_cast<std::chrono::seconds>(time).count());
}
}  // namespace

void SourceProgress::show_at_times() {
  if (context_.now() - shown_at_ >= kShowEvery) show();
}

std::string SourceProgress::trouble_now(const Sample& sample) const {
  const auto signals = context_.signals.look();
  const Phase phase = context_.phase();
  if (phase == Phase::kRollingBack) return "";
  if (context_.link_lost_at) {
    return fmt::format("waiting for the link, {} of {}", whole_seconds(context_.now() - *context_.link_lost_at),
                       whole_seconds(context_.link_patience));
  }
  if (signals.stopping && !signals.stopped && context_.now() - *signals.stopping >= kDisksAreSlow) {
    return "QEMU waits for its disks to finish their requests; the guest is paused meanwhile";
  }
  const bool copying = phase == Phase::kCopying || phase == Phase::kHandingOver;
  return copying ? trouble(context_.parts.goals, sample).value_or("") : "";
}

void SourceProgress::show() {
  if (!context_.parts.on_progress) return;
  shown_at_ = context_.now();
  const Sample s = ram_.sample();
  Progress p;
  p.phase = context_.phase();
  p.elapsed = s.elapsed;
  ram_.show(p, s);
  rate_.add(shown_at_ - context_.began, p.bytes_sent);
  p.bytes_sent += session_.bytes_sent();
  p.send_bits_per_second = rate_.per_busy_second() * 8;
  p.predicted_pause = predict_pause(s);
  p.security = session_.security();
  p.trouble = trouble_now(s);
  const bool too_long = s.first_pass_over && p.predicted_pause.value_or(Duration{}) > context_.parts.goals.max_downtime;
  look_ahead(p, s);
  p.fraction = fraction_of(p, too_long);
  context_.parts.on_progress(p);
}

/// Where no end is in sight no time is shown.
void SourceProgress::look_ahead(Progress& p, const Sample& s) {
  if (p.phase != Phase::kCopying) return;
  // What a move that waits would come to is foreseen as before.
  if (context_.link_lost_at) {
    forecast_.forget_rate();
    p.forecast = forecast_.latest();
    return;
  }
  forecast_.look(s, ram_.facts());
  if (const auto note = forecast_.take_note()) context_.note(*note);
  p.forecast = forecast_.latest();
  if (!p.trouble.empty()) return;
  if (p.forecast) {
    p.time_left = forecast_.time_left(s.elapsed);
  } else if (s.wire_bytes_per_second > 0) {
    const double left = static_cast<double>(p.pages_left) * s.wire_bytes_per_page / s.wire_bytes_per_second;
    p.time_left = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(left)) +
                  p.predicted_pause.value_or(Duration{});
  }
}

/// Never less than was shown before.
double SourceProgress::fraction_of(const Progress& p, bool too_long) {
  if (const auto all = p.pages_sent + p.pages_left; all > 0) {
    const double sent = static_cast<double>(p.pages_sent) / static_cast<double>(all);
    fraction_ = std::max(fraction_, too_long ? std::min(sent, kNearlyDone) : sent);
  }
  return p.phase == Phase::kDone ? 1 : std::min(fraction_, 0.999);
}

}  // namespace godwit
