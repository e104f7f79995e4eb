#include "vmm/qemu/handover.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/cpu_account.h"
#include "vmm/qemu/second_look.h"

namespace godwit::qemu {

Result<std::unique_ptr<StreamHandover>> StreamHandover::open(Qmp& qmp, StreamOptions options,
                                                             HandoverObserver& observer, VmRecord& record,
                                                             const Clock& clock) {
  const bool paused = options.paused;
  std::unique_ptr<StreamHandover> handover(new StreamHandover(qmp, std::move(options), observer, clock));
  handover->intake_ = TRY(StreamIntake::open(paused, observer, record, clock));
  return handover;
}

Status StreamHandover::order(const HandoverOrder& order) {
  downtime_limit_ms_ = order.downtime_limit_ms;
  highest_limit_ms_ = order.highest_limit_ms;
  TRY(qmp_.give_descriptor(kStreamSocketName, intake_->qemus_end()));
  watch_ = std::make_unique<MigrationWatch>(qmp_, [this](Instant at) { observer_.guest_stopping(at); });
  if (Status asked = ask_to_migrate(order); !asked) {
    watch_.reset();
    withdraw_stream_socket(qmp_, kStreamSocketName);
    return asked;
  }
  attendant_ = job_thread([this](const std::stop_token& stop) { attend(stop); });
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
  attendant_.request_stop();
  if (watch_) watch_->interrupt();
  intake_->end();
  if (attendant_.joinable()) attendant_.join();
  watch_.reset();
}

Status StreamHandover::told_of_no_change() const {
  if (!watch_) return {};
  const auto seen = watch_->look();
  return seen.change.empty() ? Status{} : Status(fail(changed_meanwhile({seen.change})));
}

/// While the guest has not been stopped.
void StreamHandover::attend(const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any never;
  std::unique_lock lock(mutex);
  while (true) {
    never.wait_for(lock, stop, options_.push_every, [] { return false; });
    const auto seen = watch_->look();
    if (stop.stop_requested() || intake_->stopped() || seen.ended() || seen.lost) return;
    ask_whether_it_answers();
    // Its first pass over all of RAM takes as long as it takes.
    if (seen.pass >= 2 && !push()) return;
  }
}

void StreamHandover::ask_whether_it_answers() {
  asked_at_ = clock_.now();
  (void)qmp_.execute("query-status");
  asked_at_ = Instant{};
}

/// RAM that QEMU sends must converge by QEMU's own measure before it stops the guest. First it is given the part of the
/// pause that leaves the engine its own; if that does not do, all of it, and never more.
bool StreamHandover::push() {
  if (intake_->stopped() || downtime_limit_ms_ >= highest_limit_ms_) return true;
  downtime_limit_ms_ = std::min(downtime_limit_ms_ * 2, highest_limit_ms_);
  return qmp_.execute("migrate-set-parameters", Json{{"downtime-limit", downtime_limit_ms_}}).has_value();
}

}  // namespace godwit::qemu
