#include "vmm/qemu/handover.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/cpu_account.h"
#include "vmm/qemu/json_access.h"
#include "vmm/qemu/run_state.h"
#include "vmm/qemu/second_look.h"
#include "vmm/qemu/stream_format.h"

namespace godwit::qemu {
namespace {

using std::chrono::milliseconds;

constexpr Duration kLookAtPassEvery = milliseconds(20);
// QEMU's own stop is mostly over by then: nobody asks it for anything in it.
constexpr Duration kAskAfterStop = milliseconds(500);
// What QEMU sends of private RAM, at some GB/s, until a word has reached it; and less than that, in which the records
// of zero pages, 9 bytes each, fill the socket, so that QEMU cannot come to the end although nobody reads.
constexpr std::uint64_t kHeldBack = std::uint64_t{512} << 20;
constexpr std::uint64_t kFirstReserve = std::uint64_t{384} << 20;
constexpr std::uint64_t kReserve = std::uint64_t{256} << 20;
// Bytes a second: a page every 100 ms. 0 would mean no limit.
constexpr std::uint64_t kHardlyAnything = 10;

}  // namespace

Result<std::unique_ptr<StreamHandover>> StreamHandover::open(Qmp& qmp, StreamOptions options,
                                                             HandoverObserver& observer, VmRecord& record,
                                                             const Clock& clock) {
  const bool paused = options.paused;
  std::unique_ptr<StreamHandover> handover(new StreamHandover(qmp, std::move(options), observer, clock));
  handover->intake_ = TRY(StreamIntake::open(paused, observer, record, clock));
  return handover;
}

/// QEMU may be silent for seconds now, because it turns KVM's dirty log on or waits for the guest to let go of a card:
/// the copy goes on meanwhile. It will send more than is allowed at first.
Status StreamHandover::prepare(const HandoverOrder& order) {
  intake_->allow((kShortestPass - kFirstReserve) / kTargetPageSize);
  TRY(begin(order, {}));
  holder_ = job_thread([this](const std::stop_token& stop) { hold_back(stop); });
  return {};
}

Status StreamHandover::order(const HandoverOrder& order) {
  downtime_limit_ms_ = order.downtime_limit_ms;
  highest_limit_ms_ = order.highest_limit_ms;
  const auto on_stop = [this](Instant at) { see_stop(at); };
  if (watch_) {
    watch_->begin_to_see_stops(on_stop);
    TRY(let_go_on(order));
  } else {
    TRY(begin(order, on_stop));
  }
  attendant_ = job_thread([this](const std::stop_token& stop) { attend(stop); });
  return {};
}

Status StreamHandover::begin(const HandoverOrder& order, std::function<void(Instant)> on_stop) {
  TRY(qmp_.give_descriptor(kStreamSocketName, intake_->qemus_end()));
  watch_ = std::make_unique<MigrationWatch>(qmp_, std::move(on_stop));
  Status asked = ask_to_migrate(order);
  if (asked) return {};
  watch_.reset();
  withdraw_stream_socket(qmp_, kStreamSocketName);
  return asked;
}

/// While the pass goes on and nobody has ordered the guest's stop.
void StreamHandover::hold_back(const std::stop_token& stop) {
  const auto is_late = [](const auto& answer) { return !answer && answer.error().kind == ErrorKind::kTimedOut; };
  for (; !stop.stop_requested(); std::this_thread::sleep_for(kLookAtPassEvery)) {
    const auto state = qmp_.execute("query-migrate");
    if (!state && !is_late(state)) return;  // the reader learns why
    const Json answer = state.value_or(Json());
    const Json& ram = member(answer, "ram");
    if (text_at(answer, "status") != "active" || !ram.is_object()) continue;
    const std::uint64_t bytes = number_at(ram, "total");
    const auto records_but = [&](std::uint64_t reserve) {
      return bytes > reserve ? (bytes - reserve) / kTargetPageSize : std::uint64_t{0};
    };
    if (number_at(ram, "remaining") > kHeldBack) {
      intake_->allow(records_but(kFirstReserve));
      continue;
    }
    const auto limited = qmp_.execute("migrate-set-parameters", Json{{"max-bandwidth", kHardlyAnything}});
    if (is_late(limited)) continue;
    // One that was blocked in a write before it could see its limit gets out of it.
    if (limited) intake_->allow(records_but(kReserve));
    return;
  }
}

Status StreamHandover::let_go_on(const HandoverOrder& order) {
  holder_ = {};
  if (order.look_again) TRY(order.look_again());
  TRY(qmp_.execute("migrate-set-parameters",
                   Json{{"max-bandwidth", kUnlimited}, {"downtime-limit", order.downtime_limit_ms}}));
  intake_->allow(std::numeric_limits<std::uint64_t>::max());
  return {};
}

Status StreamHandover::ask_to_migrate(const HandoverOrder& order) {
  if (order.look_again) TRY(order.look_again());
  OrderedStream ordered{.filter = {.dropped_blocks = options_.dropped_blocks,
                                   .lengths = order.lengths,
                                   .limits = order.limits,
                                   .ignore_shared = true},
                        .silent_since = [this] { return asked_at_.load(); },
                        .vcpus_ran = order.vcpus_ran};
  ordered.asked = clock_.now();
  const auto begun = qmp_.execute("migrate", Json{{"uri", fmt::format("fd:{}", kStreamSocketName)}});
  ordered.answered = clock_.now();
  if (!begun) return fail(Error(begun.error()));
  intake_->begin(std::move(ordered), qmp_, *watch_);
  return {};
}

void StreamHandover::end() noexcept {
  intake_->stop_passing();
  holder_.request_stop();
  attendant_.request_stop();
  if (watch_) watch_->interrupt();
  intake_->end();
  if (holder_.joinable()) holder_.join();
  if (attendant_.joinable()) attendant_.join();
  watch_.reset();
}

Status StreamHandover::told_of_no_change() const {
  if (!watch_) return {};
  const auto seen = watch_->look();
  return seen.change.empty() ? Status{} : Status(fail(changed_meanwhile({seen.change})));
}

void StreamHandover::see_stop(Instant at) {
  observer_.guest_stopping(at);
  {
    const std::lock_guard lock(attending_);
    stop_told_ = at;
  }
  stop_seen_.notify_all();
}

/// While the guest has not been stopped.
void StreamHandover::attend(const std::stop_token& stop) {
  std::optional<Instant> asked_about;
  while (true) {
    {
      std::unique_lock lock(attending_);
      const auto unasked = [&] { return stop_told_ && stop_told_ != asked_about; };
      stop_seen_.wait_for(lock, stop, options_.push_every, unasked);
      if (unasked()) stop_seen_.wait_for(lock, stop, kAskAfterStop, [] { return false; });
      asked_about = stop_told_;
    }
    const auto seen = watch_->look();
    if (stop.stop_requested() || intake_->stopped() || seen.ended() || seen.lost) return;
    ask_whether_it_answers(asked_about);
    // Its first pass over all of RAM takes as long as it takes.
    if (seen.pass >= 2 && !push()) return;
  }
}

/// A guest that QEMU has stopped itself is in a state of another name, and QEMU has the disks' requests behind it
/// before it answers.
void StreamHandover::ask_whether_it_answers(std::optional<Instant> stop_told) {
  asked_at_ = clock_.now();
  const auto state = qmp_.execute("query-status");
  asked_at_ = Instant{};
  if (!stop_told || !state || !is_paused(text_at(*state, "status"))) return;
  {
    const std::lock_guard lock(attending_);
    if (stop_told_ != stop_told) return;
    stop_told_.reset();
  }
  watch_->tell_of_next_stop([this](Instant at) { see_stop(at); });
  observer_.guest_stopped_by_others(*stop_told);
}

/// RAM that QEMU sends must converge by QEMU's own measure before it stops the guest. First it is given the part of the
/// pause that leaves the engine its own; if that does not do, all of it, and never more.
bool StreamHandover::push() {
  if (intake_->stopped() || downtime_limit_ms_ >= highest_limit_ms_) return true;
  downtime_limit_ms_ = std::min(downtime_limit_ms_ * 2, highest_limit_ms_);
  return qmp_.execute("migrate-set-parameters", Json{{"downtime-limit", downtime_limit_ms_}}).has_value();
}

}  // namespace godwit::qemu
