// A move simulated page by page, as the truth that forecasts are compared with: a guest that writes single pages, lanes
// that go through memory in the order of addresses, the real autopilot. It shares nothing with src/engine/move_course.
#pragma once

#include <algorithm>
#include <functional>
#include <random>
#include <utility>
#include <vector>

#include "engine/autopilot.h"
#include "engine/forecast_history.h"

namespace godwit::testing {

/// Pages that a guest writes, at random or in turn.
struct WrittenArea {
  std::size_t first = 0;
  std::function<double(double)> pages = [](double) { return 0.0; };  ///< how large it is, by the time in seconds
  std::function<double(double)> per_second = [](double) { return 0.0; };
  bool random = true;
};

inline std::function<double(double)> always(double value) {
  return [value](double) { return value; };
}

struct PageByPageGuest {
  std::size_t ram = 65536;
  std::vector<WrittenArea> areas;
  unsigned seed = 1;
};

/// Which pages a source would keep off the link until nothing else waits in its first pass.
enum class HoldBack { kNone, kWrittenAgainAndAgain, kWritten };

class PageByPageMove {
 public:
  static constexpr double kTick = 0.005;
  static constexpr double kPageBytes = 4096;
  static constexpr double kDevices = 0.01;  ///< of the pause, seconds

  PageByPageMove(PageByPageGuest guest, std::function<double(double)> bytes_per_second)
      : guest_(std::move(guest)),
        rate_(std::move(bytes_per_second)),
        random_(guest_.seed),
        dirty_(guest_.ram),
        waiting_(guest_.ram),
        held_(guest_.ram),
        written_(guest_.ram),
        sent_(guest_.ram),
        due_(guest_.areas.size()),
        turn_(guest_.areas.size()) {}

  /// Watches the guest without moving it, as `godwit forecast` does: at short and long intervals.
  void watch() {
    for (const double interval : {0.05, 0.1, 0.25, 0.5, 1.0, 0.05, 0.1, 0.25, 0.5, 1.0, 1.0}) {
      for (double t = 0; t < interval - 1e-9; t += kTick) tick_guest();
      const auto pages = collect();
      history.harvested(at(now_), seconds(interval), static_cast<double>(pages));
    }
  }

  struct End {
    bool switched = false;
    double total = 0;
    double pause = 0;
    double bytes = 0;
  };
  /// `look` is called once a second with what a source would know then.
  End run(const Goals& goals, const std::function<void(const ForecastInput&, double fraction)>& look = {}) {
    const double began = now_;
    std::fill(waiting_.begin(), waiting_.end(), 1);
    std::fill(dirty_.begin(), dirty_.end(), 0);
    std::fill(held_.begin(), held_.end(), 0);
    held_pages_ = 0;
    left_ = guest_.ram;
    first_left_ = guest_.ram;
    Sample s{.wire_bytes_per_page = kPageBytes};
    s.ram_pages = guest_.ram;
    double harvested_at = now_;
    double drained_for = 0;
    double looked_at = now_;
    double sent_at_look = 0;
    while (now_ - began < 1000) {
      const bool busy = left_ > 0;
      tick_guest();
      tick_lanes();
      drained_for = left_ == 0 ? drained_for + kTick : 0;
      s.elapsed = seconds(now_ - began);
      s.since_harvest = seconds(now_ - harvested_at);
      s.drained = left_ == 0 && drained_for >= kTick;
      s.first_pass_over |= s.drained || (s.harvests > 1 && left_ <= s.last_harvest);
      s.wire_bytes_per_second = rate_(now_ - began);
      if (busy && left_ > 0) busy_ += kTick;
      if (now_ - looked_at >= 1) {
        if (busy_ > 0.1) history.sent(at(now_), seconds(busy_), bytes_ - sent_at_look);
        looked_at = now_;
        sent_at_look = bytes_;
        busy_ = 0;
        if (look) look(input(s, began), 1 - static_cast<double>(first_left_) / static_cast<double>(guest_.ram));
      }
      const Verdict verdict = decide(goals, s);
      if (std::holds_alternative<SwitchOver>(verdict)) {
        const double pause = pause_now(now_ - began);
        began_ = began;
        return {true, now_ - began + pause, pause, bytes_ + (pause - kDevices) * rate_(now_ - began)};
      }
      if (std::holds_alternative<GiveUp>(verdict)) break;
      if (!std::holds_alternative<Harvest>(verdict)) continue;
      s.interval_before = std::exchange(s.last_interval, s.since_harvest);
      s.harvest_before = std::exchange(s.last_harvest, collect_and_post());
      history.harvested(at(now_), s.last_interval, static_cast<double>(s.last_harvest));
      harvested_at = now_;
      ++s.harvests;
      drained_for = 0;
    }
    return {false, now_ - began, 0, bytes_};
  }

  /// After run(), had the guest not been stopped then: the shortest pause that it would have had in so many seconds, in
  /// which rounds follow each other.
  double least_pause_within(double length) {
    double least = pause_now(now_ - began_);
    double harvested_at = now_;
    for (const double end = now_ + length; now_ < end;) {
      tick_guest();
      tick_lanes();
      if (left_ == 0 && now_ - harvested_at >= 0.05) {
        collect_and_post();
        harvested_at = now_;
      }
      least = std::min(least, pause_now(now_ - began_));
    }
    return least;
  }

  /// Before the move: as `godwit forecast` would know it, with this link.
  ForecastInput input_before(double bytes_per_second) const {
    ForecastInput in;
    in.found = history.found(at(now_));
    in.ram_pages = in.data_pages = in.first_left = static_cast<double>(guest_.ram);
    in.first_page_bytes = in.again_page_bytes = Estimate::exactly(kPageBytes);
    in.bytes_per_second = Estimate::about(bytes_per_second, 0.02);
    in.device_pause_seconds = Estimate::about(0.01, 0.2);
    return in;
  }

  ForecastHistory history;
  HoldBack hold_back = HoldBack::kNone;

 private:
  static Duration seconds(double s) { return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(s)); }
  static Duration at(double s) { return seconds(s); }

  ForecastInput input(const Sample& s, double began) const {
    ForecastInput in = input_before(0);
    in.bytes_per_second = history.rate(at(now_));
    in.first_left = static_cast<double>(first_left_);
    in.waiting_again = static_cast<double>(left_ - first_left_);
    in.elapsed = seconds(now_ - began);
    in.bytes_so_far = bytes_;
    in.since_harvest = s.since_harvest;
    in.harvests = s.harvests;
    return in;
  }

  double pause_now(double time) const {
    const auto pages = left_ + static_cast<std::uint64_t>(std::count(dirty_.begin(), dirty_.end(), 1));
    return kDevices + static_cast<double>(pages) * kPageBytes / rate_(time);
  }

  void tick_guest() {
    now_ += kTick;
    for (std::size_t a = 0; a < guest_.areas.size(); ++a) {
      const auto& area = guest_.areas[a];
      const auto pages = std::max<std::size_t>(1, static_cast<std::size_t>(area.pages(now_)));
      for (due_[a] += area.per_second(now_) * kTick; due_[a] >= 1; due_[a] -= 1) {
        const std::size_t page = area.random ? random_() % pages : turn_[a]++ % pages;
        dirty_[(area.first + page) % guest_.ram] = 1;
      }
    }
  }

  void tick_lanes() {
    budget_ = std::min(budget_, 1.0) + rate_(now_) * kTick / kPageBytes;
    if (held_pages_ > 0 && left_ == held_pages_) let_go();
    for (std::size_t seen = 0; seen < guest_.ram && left_ > held_pages_ && budget_ >= 1; ++seen) {
      sweep_ = (sweep_ + 1) % guest_.ram;
      if (waiting_[sweep_] == 0 || held_[sweep_] != 0) continue;
      waiting_[sweep_] = 0;
      --left_;
      if (sent_[sweep_] == 0) --first_left_;
      sent_[sweep_] = 1;
      budget_ -= 1;
      bytes_ += kPageBytes;
    }
  }

  std::uint64_t collect() {
    const auto pages = static_cast<std::uint64_t>(std::count(dirty_.begin(), dirty_.end(), 1));
    std::fill(dirty_.begin(), dirty_.end(), 0);
    return pages;
  }

  std::uint64_t collect_and_post() {
    for (std::size_t i = 0; i < guest_.ram; ++i) {
      if (dirty_[i] != 0 && waiting_[i] == 0) {
        waiting_[i] = 1;
        ++left_;
      }
      hold_if_hot(i);
    }
    return collect();
  }

  void hold_if_hot(std::size_t i) {
    const bool again = std::exchange(written_[i], dirty_[i]) != 0;
    const bool hot = dirty_[i] != 0 && (again || hold_back == HoldBack::kWritten);
    if (!hot || hold_back == HoldBack::kNone || let_go_ || held_[i] != 0) return;
    held_[i] = 1;
    ++held_pages_;
  }

  void let_go() {
    std::fill(held_.begin(), held_.end(), 0);
    held_pages_ = 0;
    let_go_ = true;
  }

  PageByPageGuest guest_;
  std::function<double(double)> rate_;
  std::mt19937 random_;
  std::vector<char> dirty_;
  std::vector<char> waiting_;
  std::vector<char> held_;     ///< waits, and is not sent before all else has been
  std::vector<char> written_;  ///< the latest harvest has found it
  std::vector<char> sent_;
  std::vector<double> due_;
  std::vector<std::size_t> turn_;
  double now_ = 0;
  double began_ = 0;
  double budget_ = 0;
  double bytes_ = 0;
  double busy_ = 0;
  std::size_t sweep_ = 0;
  std::uint64_t held_pages_ = 0;
  bool let_go_ = false;
  std::uint64_t left_ = 0;
  std::uint64_t first_left_ = 0;
};

}  // namespace godwit::testing
