#include "engine/move_course.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <variant>

#include "engine/autopilot.h"

namespace godwit {

namespace {

using std::chrono::duration;

// The coordinator looks so often; an answer from the sink takes about as long.
constexpr double kLookSeconds = 0.005;
// The autopilot is asked after a hundredth of what is left to do, so that a move of days costs no more to simulate than
// one of seconds: pages that are posted sooner wait for the same sweep. What drains because it fits may stop fitting.
constexpr double kStepsLeft = 100;
constexpr double kShortestStep = 0.05;
constexpr double kLongestStep = 30;
constexpr double kLongestLaterStep = 1;
constexpr double kHarvestSeconds = 1;
// As often the autopilot harvests while QEMU gets ready to stop the guest.
constexpr double kNearStopSeconds = 0.25;
// So many harvests without the pause becoming shorter: nothing changes any more.
constexpr int kPatience = 60;
constexpr double kShorter = 0.99;
constexpr int kMostSteps = 20'000;
constexpr double kNothing = 0.5;  // pages

double course_seconds(Duration d) {
  return duration<double>(d).count();
}

Duration as_duration(double length) {
  return std::chrono::duration_cast<Duration>(duration<double>(std::min(length, 1e9)));
}

/// Pages of one heat. Densities are of those that wait in its part of memory.
struct WaitingSet {
  double pages = 0;
  double every = 1e12;
  double ahead = 0;
  double behind = 0;

  void write(double length) {
    const double untouched = std::exp(-length / every);
    ahead = 1 - (1 - ahead) * untouched;
    behind = 1 - (1 - behind) * untouched;
  }
};

class SimulatedMove {
 public:
  SimulatedMove(const MoveModel& model, const Goals& goals)
      : m_(model), goals_(goals), writes_(model.writes), share_(model.share) {
    goals_.timeout = Duration::max();
    if (goals_.on_deadline == OnDeadline::kCancel) goals_.deadline.reset();
    make_sets();
    since_harvest_ = course_seconds(m_.since_harvest);
    harvests_ = m_.harvests;
    last_interval_ = kHarvestSeconds;
    last_harvest_ = m_.harvests > 0 ? writes_.pages(last_interval_) : 0;
  }

  MoveCourse run();

 private:
  void make_sets();
  double waiting() const;
  double written() const { return writes_.pages(since_harvest_); }
  double seconds_a_page(bool first) const;
  double step_seconds() const;
  Sample sample() const;
  void harvest();
  void slow_down(double share);
  void drain(double length);
  void pass(double length);
  bool nothing_changes(const Sample& s);
  MoveCourse end(bool switched) const;
  MoveCourse end_early() const;

  const MoveModel& m_;
  Goals goals_;
  WriteCurve writes_;
  double share_;
  std::uint64_t slowed_at_ = 0;  ///< harvests
  std::vector<WaitingSet> sets_;
  double x_ = 0;
  bool first_sweep_ = true;
  bool over_ = false;
  double now_ = 0;
  double since_harvest_ = 0;
  double last_interval_ = 0;
  double last_harvest_ = 0;
  double interval_before_ = 0;
  double harvest_before_ = 0;
  double empty_for_ = 0;
  double bytes_ = 0;
  double first_pass_ = -1;
  std::uint64_t harvests_ = 0;
  double least_pause_ = std::numeric_limits<double>::infinity();
  double stuck_pause_ = std::numeric_limits<double>::infinity();
  int stuck_for_ = 0;
};

/// What is never written is a set, too.
void SimulatedMove::make_sets() {
  double hot = 0;
  for (const auto& set : m_.writes.sets()) {
    sets_.push_back({set.pages, set.every, 0, 0});
    hot += set.pages;
  }
  const double all = std::max(m_.data_pages, 1.0);
  // What is written is at last copied as well, data or not.
  if (hot > all) {
    const double shrink = all / hot;
    for (auto& set : sets_) {
      set.pages *= shrink;
      set.every *= shrink;
    }
  } else if (hot < all) {
    sets_.push_back({all - hot, 1e12, 0, 0});
  }
  first_sweep_ = m_.first_left > kNothing;
  x_ = first_sweep_ ? std::clamp(1 - m_.first_left / all, 0.0, 1.0) : 0;
  const double again = std::min(1.0, m_.waiting_again / std::max(all * (first_sweep_ ? x_ : 1), 1.0));
  for (auto& set : sets_) {
    set.ahead = first_sweep_ ? 1 : again;
    set.behind = first_sweep_ ? again : 0;
  }
  if (!first_sweep_) first_pass_ = 0;
}

double SimulatedMove::waiting() const {
  double sum = 0;
  for (const auto& set : sets_) sum += set.pages * (set.ahead * (1 - x_) + set.behind * x_);
  return sum;
}

double SimulatedMove::seconds_a_page(bool first) const {
  const double bytes = first ? m_.first_page_bytes : m_.again_page_bytes;
  const double link = m_.bytes_per_second > 0 ? bytes / m_.bytes_per_second : 0;
  return std::max({link, first ? m_.first_page_seconds : m_.again_page_seconds, 1e-9});
}

double SimulatedMove::step_seconds() const {
  const double left = waiting() * seconds_a_page(first_sweep_);
  return std::clamp(left / kStepsLeft, kShortestStep, over_ ? kLongestLaterStep : kLongestStep);
}

Sample SimulatedMove::sample() const {
  const double rate = m_.again_page_bytes > 0 ? m_.again_page_bytes / seconds_a_page(false) : m_.bytes_per_second;
  return {.elapsed = m_.elapsed + as_duration(now_),
          .drained = empty_for_ >= kLookSeconds / 2,
          .harvests = harvests_,
          .last_harvest = static_cast<std::uint64_t>(last_harvest_),
          .last_interval = as_duration(last_interval_),
          .harvest_before = static_cast<std::uint64_t>(harvest_before_),
          .interval_before = as_duration(interval_before_),
          .since_harvest = as_duration(since_harvest_),
          .wire_bytes_per_second = rate,
          .wire_bytes_per_page = m_.again_page_bytes,
          .scan = m_.scan,
          .rechecks = m_.rechecks,
          .device_bytes = m_.device_bytes,
          .ram_pages = static_cast<std::uint64_t>(m_.ram_pages),
          .first_pass_over = over_,
          .share = share_,
          .harvests_at_share = harvests_ - slowed_at_};
}

void SimulatedMove::harvest() {
  harvest_before_ = std::exchange(last_harvest_, written());
  interval_before_ = std::exchange(last_interval_, since_harvest_);
  for (auto& set : sets_) set.write(since_harvest_);
  since_harvest_ = 0;
  empty_for_ = 0;
  ++harvests_;
}

void SimulatedMove::slow_down(double share) {
  writes_ = writes_.at_speed(share / share_);
  for (auto& set : sets_) set.every *= share_ / share;
  share_ = share;
  slowed_at_ = harvests_;
}

/// Lanes at work for so long, or until nothing waits.
void SimulatedMove::drain(double length) {
  while (length > 1e-9) {
    double density = 0;
    for (const auto& set : sets_) density += set.pages * set.ahead;
    const double whole_sweep = density * seconds_a_page(first_sweep_);
    const double to_end = (1 - x_) * whole_sweep;
    const double took = std::min(length, to_end);
    const double by = whole_sweep > 0 ? took / whole_sweep : 1 - x_;
    bytes_ += density * by * (first_sweep_ ? m_.first_page_bytes : m_.again_page_bytes);
    for (auto& set : sets_) {
      // What was swept just now does not wait any more.
      if (x_ + by > 0) set.behind = set.behind * x_ / (x_ + by);
    }
    x_ += by;
    pass(took);
    length -= took;
    if (x_ < 1 - 1e-9) continue;
    if (first_sweep_) first_pass_ = now_;
    first_sweep_ = false;
    x_ = 0;
    for (auto& set : sets_) {
      set.ahead = set.behind;
      set.behind = 0;
    }
    if (waiting() <= kNothing) break;
  }
  if (waiting() <= kNothing) pass(kLookSeconds);
}

void SimulatedMove::pass(double length) {
  now_ += length;
  since_harvest_ += length;
  empty_for_ = waiting() <= kNothing ? empty_for_ + length : 0;
}

bool SimulatedMove::nothing_changes(const Sample& s) {
  const auto predicted = predict_pause(s);
  if (!predicted || first_pass_ < 0) return false;
  const double pause = course_seconds(*predicted);
  least_pause_ = std::min(least_pause_, pause);
  if (pause < stuck_pause_ * kShorter) {
    stuck_pause_ = pause;
    stuck_for_ = 0;
  }
  return ++stuck_for_ > kPatience;
}

MoveCourse SimulatedMove::run() {
  for (int step = 0; step < kMostSteps; ++step) {
    // As rounds.h has it.
    over_ |= empty_for_ > 0 || (harvests_ > 1 && waiting() <= last_harvest_);
    const Sample s = sample();
    const Verdict verdict = decide(goals_, s);
    if (std::holds_alternative<SwitchOver>(verdict)) return end(true);
    if (std::holds_alternative<PostCopy>(verdict)) return end_early();
    if (const auto* slower = std::get_if<SlowDown>(&verdict)) {
      slow_down(slower->share);
      continue;
    }
    if (std::holds_alternative<Harvest>(verdict)) {
      // The pause that a stop just now would have brought.
      if (nothing_changes(s)) return end(false);
      harvest();
      continue;
    }
    const bool waits = waiting() > kNothing;
    drain(waits ? step_seconds() : kLookSeconds);
  }
  return end(false);
}

MoveCourse SimulatedMove::end(bool switched) const {
  MoveCourse course;
  course.switched = switched;
  const double handover = course_seconds(m_.handover);
  const double looks = course_seconds(m_.scan + m_.rechecks);
  // On average the guest's stop comes in the middle between two harvests.
  const double late = handover > kNearStopSeconds ? kNearStopSeconds / 2 : since_harvest_ + handover;
  const double pages = writes_.pages(late + kLookSeconds);
  const double device_bytes = static_cast<double>(m_.device_bytes);
  double pause = course_seconds(m_.device_pause) + looks + pages * seconds_a_page(false);
  if (m_.bytes_per_second > 0) pause += device_bytes / m_.bytes_per_second;
  const double total = course_seconds(m_.setup) + now_ + handover + pause;
  course.total = as_duration(total);
  course.first_pass = as_duration(std::max(first_pass_, 0.0));
  course.pause = as_duration(switched || !std::isfinite(least_pause_) ? pause : least_pause_);
  course.bytes = bytes_ + pages * m_.again_page_bytes + device_bytes;
  course.by_link = m_.bytes_per_second > 0 && m_.first_page_bytes / m_.bytes_per_second >= m_.first_page_seconds;
  return course;
}

/// The guest runs, and what waits follows it.
MoveCourse SimulatedMove::end_early() const {
  const double handover = course_seconds(m_.handover);
  const double rest = waiting() + writes_.pages(since_harvest_ + handover);
  MoveCourse course;
  course.switched = true;
  course.pause = m_.device_pause + m_.scan + m_.rechecks;
  course.total = m_.setup + as_duration(now_ + handover + rest * seconds_a_page(first_sweep_)) + course.pause;
  course.first_pass = first_pass_ < 0 ? course.total : as_duration(first_pass_);
  course.bytes =
      bytes_ + rest * (first_sweep_ ? m_.first_page_bytes : m_.again_page_bytes) + static_cast<double>(m_.device_bytes);
  return course;
}

}  // namespace

MoveCourse simulate_move(const MoveModel& model, const Goals& goals) {
  return SimulatedMove(model, goals).run();
}

}  // namespace godwit
