#include "engine/switchover.h"

#include <algorithm>

namespace godwit {

namespace {
using std::chrono::milliseconds;
// Saving devices takes milliseconds, and flushing disks or a slow link some more.
constexpr Duration kSavePatience = std::chrono::seconds(20);
// So long a look at the VM's disks and devices, which takes a millisecond, is good enough for a commit.
constexpr Duration kLookIsFresh = milliseconds(20);
constexpr Duration kLookIsCheap = milliseconds(5);
}  // namespace

Switchover::Switchover(SourceContext& context, SinkSession& session)
    : context_(context),
      relay_(session.control(), context.signals, context.error, context.parts.clock, context.parts.goals.max_downtime) {
}

/// A sink that takes devices directly can unpack them, too.
Status Switchover::open() {
  if (context_.parts.vm.way() == DeviceWay::kDirect) {
    relay_.pack_with(TRY(make_encoder({.id = CodecId::kZstd, .level = 1})));
  }
  return context_.parts.vm.open_handover(relay_);
}

Status Switchover::prepare_in_time(Loads loads) {
  auto& vm = context_.parts.vm;
  const Duration takes = vm.preparation();
  if (context_.hypervisor_busy || takes <= Duration::zero()) return {};
  for (const Load* load : loads) {
    if (load->time_left() > takes) return {};
  }
  if (!context_.link.bear_no_more()) return {};
  context_.hypervisor_busy = true;
  context_.parts.log.info("preparing", {{"takes", takes}});
  return vm.prepare_handover();
}

Status Switchover::order_stop(Loads loads) {
  auto& parts = context_.parts;
  TRY(parts.vm.check_unchanged());
  context_.enter(Phase::kHandingOver);
  ordered_ = true;
  for (Load* load : loads) TRY(load->stop_is_near());
  if (parts.lift_rate_limit) parts.lift_rate_limit();
  // A guest that somebody else has paused must not be let run by the next engine if this one dies.
  const bool paused = parts.vm.moves_paused();
  if (!paused) TRY(parts.journal.handing_over());
  parts.on_milestone(Milestone::kHandingOver);
  relay_.allow_pause(parts.goals.max_downtime);
  Status ordered = order(loads);
  if (ordered || paused || ordered.error().kind != ErrorKind::kRefused) return ordered;
  // Somebody else has paused it just now?
  if (!context_.check_guest() || !parts.vm.moves_paused()) return ordered;
  TRY(parts.journal.begin());
  return order(loads);
}

Status Switchover::order(Loads loads) {
  TRY(context_.parts.vm.order_handover(context_.parts.goals.max_downtime));
  for (Load* load : loads) load->stop_is_ordered();
  return {};
}

Status Switchover::freeze(Loads loads) {
  context_.enter(Phase::kPaused);
  context_.parts.on_milestone(Milestone::kStopped);
  for (Load* load : loads) TRY(load->freeze(ledger_));
  context_.parts.on_milestone(Milestone::kFenced);
  return {};
}

Status Switchover::await_prepared() {
  auto& parts = context_.parts;
  TRY(context_.until([](const SourceSignals& s) { return s.stream_ended.has_value(); },
                     kSavePatience + 2 * parts.goals.max_downtime,
                     "the source's QEMU to save its devices and flush its disks"));
  parts.on_milestone(Milestone::kDevicesSent);
  // While the destination loads them: this costs no time of the pause.
  const auto looking = context_.now();
  TRY(parts.vm.check_unchanged());
  const auto looked = context_.now();
  TRY(context_.until([](const SourceSignals& s) { return s.prepared; }, context_.load_patience(),
                     "the destination to load the devices"));
  // A pause that has been long already leaves an operator more time for changes, and a millisecond more is little of
  // it. Where the hypervisor hardly gets a CPU a look would take a hundred.
  if (context_.now() - looked > kLookIsFresh && looked - looking < kLookIsCheap) TRY(parts.vm.check_unchanged());
  const auto signals = context_.signals.look();
  ledger_.enter("devices saved", *signals.stopped, *signals.stream_ended);
  ledger_.enter("devices loaded", std::max(*signals.stream_ended, *signals.devices_fenced_at), signals.prepared_at);
  parts.on_milestone(Milestone::kPrepared);
  return {};
}

void Switchover::account(Report& r) const {
  r.bytes_devices = relay_.bytes();
  r.bytes_devices_in_pause = relay_.bytes_in_pause();
  r.hypervisor_ram_bytes = relay_.dropped();
  const auto signals = context_.signals.look();
  if (!signals.stopped) return;
  r.ledger = ledger_.entries(signals.pause_began());
  const auto until_stopped =
      std::chrono::duration_cast<std::chrono::microseconds>(*signals.stopped - signals.pause_began());
  r.ledger.insert(r.ledger.begin(), {"stopping", 0, until_stopped.count()});
}

}  // namespace godwit
