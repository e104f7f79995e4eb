#include "vmm/qemu/direct_handover.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/cpu_account.h"
#include "vmm/qemu/json_access.h"
#include "vmm/qemu/ram_blocks.h"
#include "vmm/qemu/revive.h"
#include "vmm/qemu/run_state.h"
#include "vmm/qemu/saved_devices.h"
#include "vmm/qemu/second_look.h"

namespace godwit::qemu {
namespace {

constexpr Duration kUntilTold = std::chrono::hours(24 * 365);

}  // namespace

Status DirectHandover::order(const HandoverOrder& order) {
  file_ = TRY(DeviceFile::lend(qmp_));
  watch_ = std::make_unique<MigrationWatch>(qmp_, [this](Instant at) { observer_.guest_stopping(at); });
  if (order.look_again) {
    if (Status same = order.look_again(); !same) {
      watch_.reset();
      file_->take_back();
      return same;
    }
  }
  thread_ = job_thread([this, order] { run(order); });
  return {};
}

void DirectHandover::run(const HandoverOrder& order) {
  Status status = hand_over(order);
  if (status) return await_changes();
  if (!ending_) observer_.handover_failed(std::move(status).error());
}

Status DirectHandover::hand_over(const HandoverOrder& order) {
  TRY(go_on());
  // The destination's QEMU begins its load with it: that is then no part of the pause.
  TRY(observer_.device_bytes(stream_beginning(options_.machine)));
  const Status paused = paused_ ? check_paused() : stop_guest();
  if (!paused) return paused;
  TRY(observer_.guest_stopped(clock_.now()));
  TRY(go_on());
  TRY(save());
  TRY(check_stayed_paused());
  TRY(check_lengths(order));
  complete_ = true;
  return observer_.stream_ended(clock_.now(), 0);
}

Status DirectHandover::go_on() const {
  if (ending_) return fail(ErrorKind::kCancelled, "the hand-over was ended");
  const auto seen = watch_->look();
  if (seen.lost) return fail(ErrorKind::kPeerLost, "QEMU has ended");
  return told_of_no_change();
}

/// Somebody else, or a disk error, has paused it since the last look; or it has ended.
Status DirectHandover::take_as_it_is(const std::string& state) {
  const auto halt = halt_of(state);
  if (!is_paused(state)) {
    return fail(ErrorKind::kRefused, halt ? halt->what : fmt::format("the guest does not run: it is '{}'", state));
  }
  paused_ = true;
  paused_as_ = state;
  return {};
}

/// From here on it is this engine that has stopped it, unless somebody else was faster. Disk requests have ended when
/// QEMU answers.
Status DirectHandover::stop_guest() {
  const Json before = TRY(qmp_.execute("query-status"));
  const std::string was = text_at(before, "status");
  if (!bool_at(before, "running") && !(options_.suspended && was == "suspended")) return take_as_it_is(was);
  run_state_ = "running";
  TRY(qmp_.execute("stop"));
  // Before anything is saved: one that was suspended just before could not take its disks back. And QEMU's main loop
  // has gone round once more then, with a reset that it still had to do.
  const std::string state = text_at(TRY(qmp_.execute("query-status")), "status");
  if (state == "io-error") {
    run_state_ = state;
    return take_as_it_is(state);
  }
  if (!is_paused(state)) {
    run_state_ = state;
    const auto halt = halt_of(state);
    return fail(ErrorKind::kRefused, halt ? halt->what : fmt::format("the guest could not be paused: '{}'", state));
  }
  paused_as_ = state;
  const std::string mark = mark_of_pause(process_, options_.vcpus);
  return mark.empty() ? Status{} : record_.guest_stands(mark);
}

/// What was saved is what it was when it was paused: a reset meanwhile rewrites its memory. Asked while the destination
/// loads.
Status DirectHandover::check_stayed_paused() {
  const std::string state = text_at(TRY(qmp_.execute("query-status")), "status");
  if (state == paused_as_) return {};
  return fail(ErrorKind::kRefused,
              fmt::format("somebody has worked on the guest while its devices were saved: it was '{}', it is '{}'",
                          paused_as_, state));
}

/// QEMU would save a guest that runs, too, and let it run on.
Status DirectHandover::check_paused() {
  const std::string state = text_at(TRY(qmp_.execute("query-status")), "status");
  paused_as_ = state;
  if (is_paused(state)) return {};
  return fail(ErrorKind::kRefused, "somebody has let the guest run while it was moved paused");
}

Status DirectHandover::save() {
  const auto saved = TRY(save_devices(qmp_, *file_, true));
  const Bytes sections = TRY(saved_sections(saved));
  TRY(observer_.device_bytes(sections));
  TRY(observer_.device_bytes(stream_end()));
  if (paused_) return {};
  const auto clock = virtual_clock_in(saved);
  return clock ? record_.guest_stands(mark_of_pause(process_, options_.vcpus, clock)) : Status{};
}

/// A block that has grown would arrive with its end missing. The destination is loading meanwhile.
Status DirectHandover::check_lengths(const HandoverOrder& order) {
  if (order.lengths.empty()) return {};
  for (const auto& line : parse_ram_blocks(TRY(qmp_.human("info ramblock")))) {
    if (line.size == 0) continue;
    const auto before = order.lengths.find(line.name);
    if (before == order.lengths.end()) {
      return fail(ErrorKind::kRefused, fmt::format("RAM block '{}' has been added to this VM", line.name));
    }
    if (before->second != line.size) {
      return fail(ErrorKind::kRefused, fmt::format("RAM block '{}' has been resized: it had {} bytes, it has {}",
                                                   line.name, before->second, line.size));
    }
  }
  return {};
}

/// Until the caller commits or rolls back a change of the VM is a reason not to commit.
void DirectHandover::await_changes() {
  const auto seen =
      watch_->await([](const auto& s) { return s.interrupted || s.lost || !s.change.empty(); }, kUntilTold);
  if (ending_ || seen.change.empty()) return;
  observer_.handover_failed(changed_meanwhile({seen.change}));
}

Status DirectHandover::told_of_no_change() const {
  if (!watch_) return {};
  const auto seen = watch_->look();
  return seen.change.empty() ? Status{} : Status(fail(changed_meanwhile({seen.change})));
}

void DirectHandover::end() noexcept {
  ending_ = true;
  if (watch_) watch_->interrupt();
  if (thread_.joinable()) thread_.join();
  if (file_) file_->take_back();
  file_.reset();
  watch_.reset();
}

}  // namespace godwit::qemu
