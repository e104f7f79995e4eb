// What a source shows while it runs and when it ends.
#include <algorithm>

#include "engine/source_migration.h"

namespace godwit {

namespace {
/// Since the last harvest, for the next will be like it: what was sent before may have cost far more or less. All pages
/// that harvests count are counted, those too that did not travel.
double wire_bytes_per_page(const LaneTotals& since, const LaneTotals& totals) {
  const auto pages = totals.claimed() - since.claimed();
  if (pages > 0) return static_cast<double>(totals.bytes_wire - since.bytes_wire) / static_cast<double>(pages);
  if (totals.claimed() == 0) return static_cast<double>(kPageSize);
  return static_cast<double>(totals.bytes_wire) / static_cast<double>(totals.claimed());
}

// Of a guest that writes too fast no more is said, however much of its memory has been sent.
constexpr double kNearlyDone = 0.95;
// Disks take milliseconds to finish their requests.
constexpr Duration kDisksAreSlow = std::chrono::seconds(2);
}  // namespace

Report run_source(SourceParts parts) {
  return SourceMigration(std::move(parts)).run();
}

Sample SourceMigration::sample() const {
  const auto at = now();
  const auto totals = lanes_.totals();
  const double busy_rate = wire_rate_.per_busy_second() * parts_.goals.lanes;
  return Sample{
      .elapsed = at - began_,
      .drained = applied_ && !free_pages_.in_doubt(),
      .harvests = harvests_,
      .last_harvest = last_harvest_.pages,
      .last_interval = harvest_interval_,
      .since_harvest = at - harvested_at_,
      .deferred = deferred_,
      .wire_bytes_per_second = round_rate_ > 0 ? std::min(round_rate_, busy_rate) : busy_rate,
      .wire_bytes_per_page = wire_bytes_per_page(round_, totals),
      .scan = last_harvest_.took,
      .rechecks = given_back_took_ + free_pages_.look_takes(),
      .ram_pages = parts_.vm.memory().layout().bytes() / kPageSize,
      .first_pass_over = first_pass_over_,
      .handing_over = handing_over_,
      .since_handover = handing_over_ ? at - handover_began_ : Duration{},
  };
}

std::string SourceMigration::trouble_now(const Sample& s) const {
  const auto signals = signals_.look();
  if (phase_ == Phase::kRollingBack) return "";
  if (signals.stopping && !signals.stopped && now() - *signals.stopping >= kDisksAreSlow) {
    return "QEMU waits for its disks to finish their requests; the guest is paused meanwhile";
  }
  const bool copying = phase_ == Phase::kCopying || phase_ == Phase::kHandingOver;
  return copying ? trouble(parts_.goals, s).value_or("") : "";
}

void SourceMigration::enter(Phase phase) {
  phase_ = phase;
  show_progress();
}

void SourceMigration::show_progress() {
  if (!parts_.on_progress) return;
  const auto at = now();
  const auto totals = lanes_.totals();
  const auto s = sample();
  shown_rate_.add(at - began_, totals.bytes_wire);
  shown_at_ = at;
  Progress p;
  p.phase = phase_;
  p.elapsed = s.elapsed;
  p.ram_bytes = parts_.vm.memory().layout().bytes();
  p.pages_left = board_.waiting();
  p.bytes_left = p.pages_left * kPageSize;
  p.bytes_sent = totals.bytes_wire + (control_channel_ ? control_channel_->bytes_sent() : 0);
  p.pages_sent = totals.pages_data + totals.pages_zero;
  p.send_bits_per_second = shown_rate_.per_busy_second() * 8;
  const auto interval = std::chrono::duration<double>(harvest_interval_).count();
  if (interval > 0) p.dirty_pages_per_second = static_cast<double>(last_harvest_.pages) / interval;
  if (totals.pages_data > 0) {
    p.compression = static_cast<double>(totals.pages_data * kPageSize) / static_cast<double>(totals.bytes_wire);
  }
  p.predicted_pause = predict_pause(s);
  p.trouble = trouble_now(s);
  const bool too_long = s.first_pass_over && p.predicted_pause.value_or(Duration{}) > parts_.goals.max_downtime;
  // Where one round follows another nobody can tell when it ends.
  if (s.wire_bytes_per_second > 0 && phase_ == Phase::kCopying && !too_long && p.trouble.empty()) {
    const double left = static_cast<double>(p.pages_left) * s.wire_bytes_per_page / s.wire_bytes_per_second;
    p.time_left = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(left)) +
                  p.predicted_pause.value_or(Duration{});
  }
  const auto all = p.pages_sent + p.pages_left;
  if (all > 0) {
    const double sent = static_cast<double>(p.pages_sent) / static_cast<double>(all);
    fraction_ = std::max(fraction_, too_long ? std::min(sent, kNearlyDone) : sent);
  }
  p.fraction = phase_ == Phase::kDone ? 1 : std::min(fraction_, 0.999);
  parts_.on_progress(p);
}

Report SourceMigration::report(Outcome outcome, std::optional<Error> error) {
  const auto totals = lanes_.totals();
  const auto signals = signals_.look();
  Report r;
  r.outcome = outcome;
  r.error = std::move(error);
  r.vm_name = parts_.vm.fingerprint().vm_name;
  r.source_version = parts_.vm.fingerprint().version;
  r.sink_version = sink_version_;
  r.codec = parts_.goals.codec ? format_codec(*parts_.goals.codec) : "auto";
  r.lanes = parts_.goals.lanes;
  r.kernels = parts_.kernels.name;
  r.total = now() - began_;
  r.pause = pause_;
  r.max_downtime = parts_.goals.max_downtime;
  r.paused = parts_.vm.starts_paused();
  if (signals.stopped) {
    r.ledger = ledger_.entries(signals.pause_began());
    const auto until_stopped =
        std::chrono::duration_cast<std::chrono::microseconds>(*signals.stopped - signals.pause_began());
    r.ledger.insert(r.ledger.begin(), {"stopping", 0, until_stopped.count()});
  }
  r.ram_bytes = parts_.vm.memory().layout().bytes();
  r.pages_data = totals.pages_data;
  r.pages_zero = totals.pages_zero;
  r.pages_skipped = pages_skipped_;
  r.pages_resent = totals.pages_resent;
  if (!ledger_.empty()) r.pages_in_pause = totals.pages_data + totals.pages_zero - pages_before_pause_;
  r.pages_free = free_pages_.pages();
  r.free_pages = free_pages_.finding();
  r.pages_discarded = pages_given_back_;
  r.pages_same_fill = totals.pages_fill;
  r.pages_copied = totals.pages_copied;
  r.pages_delta = totals.pages_delta;
  r.pages_unchanged = totals.pages_unchanged;
  for (const auto& use : lanes_.codecs()) {
    if (use.blocks == 0) continue;
    const bool raw = use.codec.id == CodecId::kRaw;
    (raw ? r.bytes_raw : r.bytes_compressed) += use.bytes_after;
    if (!raw) r.bytes_before_compression += use.bytes_before;
    r.codecs.push_back({format_codec(use.codec), use.blocks, use.bytes_before, use.bytes_after});
  }
  r.bytes_lanes = totals.bytes_wire;
  if (control_channel_) r.bytes_control = control_channel_->bytes_sent();
  if (relay_) {
    r.bytes_devices = relay_->bytes();
    r.bytes_devices_in_pause = relay_->bytes_in_pause();
    r.hypervisor_ram_bytes = relay_->dropped();
  }
  r.harvests = harvests_;
  r.source_cpu = cpu_time();
  r.source_peak_memory = heartbeat_ ? heartbeat_->peak_memory() : anonymous_memory();
  if (signals.done) {
    r.sink_cpu = std::chrono::microseconds(signals.done->cpu_us);
    r.sink_peak_memory = signals.done->peak_rss;
    r.commit_to_resume = std::chrono::microseconds(signals.done->commit_to_resume_us);
  }
  return r;
}

}  // namespace godwit
