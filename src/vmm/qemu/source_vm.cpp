// A running VM on QEMU: stopped, handed over, rolled back.
//
// QEMU stops the guest by itself when little is left to send, saves its devices and is done ("completed"), whatever the
// sink does. Nothing waits for anybody in the pause. Taking it back is possible from every state, because QEMU does not
// destroy a guest that it has handed over: it lets it run again on `cont`. That nobody does so after a commit is the
// engine's business; finish() never does.
#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <atomic>
#include <nlohmann/json.hpp>
#include <vector>

#include "memory/first_blocks.h"
#include "vmm/qemu/direct_handover.h"
#include "vmm/qemu/handover.h"
#include "vmm/qemu/json_access.h"
#include "vmm/qemu/life_watch.h"
#include "vmm/qemu/migration_end.h"
#include "vmm/qemu/migration_settings.h"
#include "vmm/qemu/qemu_vm.h"
#include "vmm/qemu/revive.h"
#include "vmm/qemu/run_state.h"
#include "vmm/qemu/second_look.h"
#include "vmm/qemu/vcpu_time.h"

namespace godwit::qemu {
namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;

// Draining slow disks is what can take long; after that it is milliseconds.
constexpr Duration kRollBackPatience = std::chrono::seconds(30);
// Between the end of QEMU's sockets and that of its process memory is given back.
constexpr int kEndAfterMonitorMs = 2000;
// Its device state and what it has left of video memory are small: more than this only makes a pause longer.
constexpr milliseconds kMostForQemu(2000);
// QEMU's pass over private RAM into the filter: 1.2 GB/s were measured on a quiet host.
constexpr double kPassBytesPerSecond = 1e9;

// Of QEMU's stream in the pause, without video memory, which is held to what fits: 320 to 450 kB were seen.
constexpr std::uint64_t kDeviceBytes = 400'000;
// Saved at our word: 13 kB for a bare VM, 158 kB for one with all that libvirt gives it.
constexpr std::uint64_t kDirectDeviceBytes = 160'000;

/// What QEMU may leave to be sent after the stop. It measures its own bandwidth, some GB/s into the filter, so that
/// even the lower bound is megabytes; the engine's own last pages need their part of the pause too.
std::uint64_t downtime_limit_ms(Duration max_downtime) {
  const auto share = duration_cast<milliseconds>(max_downtime / 2);
  const auto least = std::min(duration_cast<milliseconds>(max_downtime), milliseconds(5));
  return static_cast<std::uint64_t>(std::clamp(share, least, kMostForQemu).count());
}

/// A QEMU that waits for its disks with its main lock held answers nobody, and goes on by itself when they return: that
/// is waited for as long as it is alive. What it then does not do in time it does not do.
template <typename Act>
auto patiently(Qmp& qmp, Act act) {
  auto done = act();
  if (done || done.error().kind != ErrorKind::kTimedOut) return done;
  for (auto answer = qmp.execute("query-status"); !answer; answer = qmp.execute("query-status")) {
    if (answer.error().kind != ErrorKind::kTimedOut) break;
  }
  return act();
}

class QemuSourceVm final : public SourceVm {
 public:
  QemuSourceVm(QemuVm& vm, const DeviceChoice& choice, VmRecord& record, const Clock& clock)
      : vm_(vm),
        record_(record),
        clock_(clock),
        way_(choice.way),
        must_(choice.must),
        why_stream_(choice.why_stream),
        starts_paused_(is_paused(vm.inspection.status)),
        life_(*vm.qmp),
        moved_paused_(starts_paused_) {}

  const Fingerprint& fingerprint() const noexcept override { return vm_.inspection.fingerprint; }
  GuestMemory& memory() noexcept override { return main_memory_ ? *main_memory_ : *vm_.memory; }
  DeviceWay way() const noexcept override { return way_; }
  const std::string& why_stream() const noexcept override { return why_stream_; }

  Status use(DeviceWay way, std::string why_stream) override {
    if (handover_) return fail(ErrorKind::kInvalidArgument, "a hand-over is under way already");
    if (way == way_) return {};
    if (way == DeviceWay::kDirect) return fail(ErrorKind::kUnsupported, why_stream_);
    if (must_) return fail(ErrorKind::kRefused, "its devices cannot be moved directly: " + why_stream);
    main_memory_ = TRY(first_blocks(*vm_.memory, vm_.inspection.blocks.size()));
    way_ = way;
    why_stream_ = std::move(why_stream);
    return {};
  }

  bool still_paused() const noexcept override {
    // A guest that was paused before has been watched for longer than its hand-over.
    return ordered_ && !handover_->resumed() && !(moved_paused_ && let_run_since());
  }

  bool starts_paused() const noexcept override { return starts_paused_; }

  bool moves_paused() const noexcept override { return moved_paused_ || (ordered_ && handover_->hands_over_paused()); }

  bool move_as_paused() override {
    if (moved_paused_) return !halt_;
    if (ordered_ || !halt_ || !resumes_when_paused_) return false;
    halt_.reset();
    moved_paused_ = true;
    resumes_before_ = *resumes_when_paused_;
    if (handover_) handover_->expect_paused();
    return true;
  }

  Status meet(const Fingerprint& sink) override {
    both_keep_suspended_ = keeps_suspension(vm_.inspection.fingerprint.version) && keeps_suspension(sink.version);
    return vm_.inspection.status == "suspended" && !both_keep_suspended_ ? Status(cannot_move_suspended()) : Status{};
  }

  std::uint64_t expected_device_bytes() const noexcept override {
    return way_ == DeviceWay::kDirect ? kDirectDeviceBytes : kDeviceBytes;
  }

  std::optional<Halt> halted() override {
    if (halt_) return halt_;
    halt_ = end_or_suspension();
    // Beyond that QEMU would have to be asked, and must not be while it stops the guest.
    if (halt_ || ordered_ || stopped_by_us_ || moved_paused_ || !life_.look().stopped) return halt_;
    halt_ = state_as_halt();
    return halt_;
  }

  bool can_take_back() const override { return vm_.process->alive(); }

  Status pause() override {
    // It has been handed over, and somebody let it run all the same.
    if (ordered_) {
      TRY(vm_.qmp->execute("stop"));
      return {};
    }
    if (moved_paused_) return {};
    TRY(check_interrupted());
    TRY(check_runs());
    if (vcpus_.empty()) vcpus_ = TRY(vcpu_threads(*vm_.qmp));  // asked while it runs
    stopped_by_us_ = true;
    TRY(vm_.qmp->execute("stop"));
    const std::string mark = mark_of_pause(*vm_.process, vcpus_);
    return mark.empty() ? Status{} : record_.guest_stands(mark);
  }

  Status resume() override {
    if (moved_paused_) return {};
    TRY(check_interrupted());
    TRY(let_run(*vm_.qmp, kRollBackPatience));
    stopped_by_us_ = false;
    return {};
  }

  Status check_unchanged() override {
    TRY(check_interrupted());
    if (ordered_) {
      Status unchanged = look_again_quickly(vm_);
      // A guest that has been handed over whole does not need this QEMU any more.
      if (!unchanged && handover_->complete() && !vm_.process->alive()) return {};
      return unchanged;
    }
    auto now = TRY(look_again(vm_, prepared_));
    if (way_ == DeviceWay::kDirect) TRY(check_other_blocks(vm_));
    ram_lengths_ = std::move(now.ram_blocks);
    ram_limits_ = std::move(now.ram_limits);
    return {};
  }

  Status told_of_no_change() const override { return ordered_ ? handover_->told_of_no_change() : Status{}; }

  Status open_handover(HandoverObserver& observer) override {
    if (handover_) return fail(ErrorKind::kInvalidArgument, "a hand-over is under way already");
    if (vm_.inspection.status == "suspended" && !keeps_suspended()) return cannot_move_suspended();
    if (way_ == DeviceWay::kDirect) {
      if (vcpus_.empty()) vcpus_ = TRY(vcpu_threads(*vm_.qmp));
      handover_ = std::make_unique<DirectHandover>(
          life_, *vm_.process,
          DirectOptions{vm_.inspection.fingerprint.machine, moved_paused_, keeps_suspended(), vcpus_}, observer,
          record_, clock_);
      return {};
    }
    StreamOptions options{.paused = moved_paused_};
    for (const auto& block : vm_.inspection.blocks) options.dropped_blocks.insert(block.name);
    handover_ = TRY(StreamHandover::open(life_, std::move(options), observer, record_, clock_));
    return {};
  }

  Duration preparation() const override {
    const std::uint64_t bytes = bytes_that_qemu_sends();
    if (way_ == DeviceWay::kDirect || bytes < kShortestPass) return {};
    return duration_cast<Duration>(std::chrono::duration<double>(static_cast<double>(bytes) / kPassBytesPerSecond));
  }

  Status prepare_handover() override {
    TRY(check_interrupted());
    if (!handover_ || ordered_ || prepared_) {
      return fail(ErrorKind::kInvalidArgument, "no hand-over is open that could be prepared");
    }
    TRY(check_unchanged());
    HandoverOrder order = TRY(make_order({}));
    order.downtime_limit_ms = 0;  // until it is ordered, nothing that is left is little enough
    TRY(make_settings(order));
    TRY(check_interrupted());
    prepared_ = true;  // whatever comes of it: something may be under way now
    return handover_->prepare(order);
  }

  Status order_handover(Duration max_downtime) override {
    TRY(check_interrupted());
    if (!handover_ || ordered_) return fail(ErrorKind::kInvalidArgument, "no hand-over is open that could be ordered");
    const HandoverOrder order = TRY(make_order(max_downtime));
    if (way_ == DeviceWay::kStream) TRY(make_settings(order));
    TRY(check_interrupted());
    TRY(check_runs());
    TRY(handover_->order(order));
    ordered_ = true;
    stopped_by_us_ = !moved_paused_;  // or will be
    return {};
  }

  Status roll_back() override {
    const Status runs = let_guest_go();
    if (!runs && !halt_) halt_ = end_or_suspension(runs.error().kind == ErrorKind::kPeerLost);
    // Whether it runs or not: a guest that is paused may be saved by other means, with the settings of that moment. The
    // guest is what counts for the answer; settings that could not be put back stay on record.
    (void)restore();
    return runs;
  }

  Status finish() override {
    end_handover();
    return restore();
  }

  void interrupt() noexcept override { interrupted_ = true; }

 private:
  /// A guest that does not run has been stopped, or moved, by somebody else: it is not ours to start again. Nor is one
  /// ours to stop that was paused, and that somebody else has let run.
  Status check_runs() {
    const unsigned resumes = life_.look().resumes;
    const Json state = TRY(vm_.qmp->execute("query-status"));
    const std::string status = text_at(state, "status");
    if (moved_paused_) {
      // One that ran in between may have written what no harvest was made for.
      if (is_paused(status) && !let_run_since()) return {};
      return fail(ErrorKind::kRefused, "somebody has let the guest run while it was moved paused");
    }
    if (bool_at(state, "running") || (keeps_suspended() && status == "suspended")) return {};
    note_pause(status, resumes);
    halt_ = halt_of(status);
    if (halt_) return fail(ErrorKind::kRefused, halt_->what);
    return fail(ErrorKind::kRefused, fmt::format("this VM does not run: QEMU says it is '{}'", status));
  }

  /// One that is suspended to RAM. After its own migration QEMU 10.0 aborts when it is to let such a guest go on, and a
  /// move that fails would lose it.
  bool keeps_suspended() const { return both_keep_suspended_ && way_ == DeviceWay::kDirect; }

  /// Since it is moved paused.
  bool let_run_since() const { return life_.look().resumes != resumes_before_; }

  /// `resumes`: as they were before QEMU was asked.
  void note_pause(const std::string& status, unsigned resumes) {
    resumes_when_paused_ = is_paused(status) ? std::optional(resumes) : std::nullopt;
  }

  /// What can be told without asking QEMU. A monitor that is lost is not yet a QEMU that has ended: it may have been
  /// reached by way of another process. Whoever got no answer may know of the loss before this VM is told.
  std::optional<Halt> end_or_suspension(bool unanswered = false) {
    const auto halt = life_.halt(!keeps_suspended());
    // A guest that has been handed over whole does not need this QEMU any more, whenever it is seen to have ended.
    if (halt || (ordered_ && handover_->complete())) return halt;
    if (!(unanswered || life_.look().lost) || !process_has_ended()) return std::nullopt;
    return Halt{Halt::Kind::kEnded, "QEMU has ended, and the guest with it"};
  }

  /// A process that has closed its sockets may take a moment to be gone: waited for once.
  bool process_has_ended() {
    if (!end_awaited_) {
      end_awaited_ = true;
      pollfd ended{vm_.process->pidfd(), POLLIN, 0};
      ::poll(&ended, 1, kEndAfterMonitorMs);
    }
    return !vm_.process->alive();
  }

  /// Asks QEMU whether the guest runs as it should.
  std::optional<Halt> state_as_halt() {
    const unsigned resumes = life_.look().resumes;
    const auto state = vm_.qmp->execute("query-status");
    if (!state) return end_or_suspension(state.error().kind == ErrorKind::kPeerLost);
    const std::string status = text_at(*state, "status");
    // A hand-over that went wrong leaves a guest that was paused as it was, under another name.
    if (starts_paused_ && (is_paused(status) || status == "postmigrate")) return std::nullopt;
    const bool as_it_was = vm_.inspection.status == "suspended" || keeps_suspended();
    if (as_it_was && status == "suspended") return std::nullopt;
    note_pause(status, resumes);
    return halt_of(moved_paused_ && status == "postmigrate" ? "paused" : status);
  }

  /// The hand-over is over and undone. QEMU lets a guest run again that it has stopped without need, or leaves it
  /// in a state of its own name: one that is "paused" now, or was handed over as something else than running, was
  /// stopped by somebody else.
  Status see_who_stopped_it(const std::optional<std::string>& handed) {
    if (moved_paused_) {
      stopped_by_us_ = handed == "running";
      return {};
    }
    if (handed && *handed != "running" && !(keeps_suspended() && *handed == "suspended")) halt_ = halt_of(*handed);
    if (handed || halt_) return {};
    const Json state = TRY(patiently(*vm_.qmp, [&] { return vm_.qmp->execute("query-status"); }));
    const std::string status = text_at(state, "status");
    if (is_paused(status)) halt_ = halt_of(status);
    return {};
  }

  Status check_interrupted() const {
    return interrupted_ ? Status(fail(ErrorKind::kCancelled, "interrupted")) : Status();
  }

  /// As the lanes move them: QEMU would send a block that has grown since, the lanes do not.
  std::map<std::string, std::uint64_t> moved_lengths() const {
    std::map<std::string, std::uint64_t> lengths;
    for (const auto& block : vm_.inspection.blocks) lengths[block.name] = block.size;
    for (const auto& block : vm_.inspection.other.blocks) lengths[block.name] = block.size;
    return lengths;
  }

  Status let_guest_go() {
    const bool under_way = ordered_ || prepared_;
    // Nobody else has stopped one that was paused for a harvest while the hand-over was being prepared.
    const bool paused_by_us = !ordered_ && stopped_by_us_;
    const bool found_paused = moves_paused();
    if (handover_) handover_->end();
    const auto handed = handover_ ? handover_->run_state() : std::nullopt;
    end_handover();
    if (under_way) {
      // Devices saved directly need no migration: one that is under way is somebody else's.
      if (way_ == DeviceWay::kStream) {
        TRY_IN("roll back", patiently(*vm_.qmp, [&] { return await_migration_end(*vm_.qmp, kRollBackPatience); }));
      } else if (found_paused) {
        take_disks_back();
      }
      if (!paused_by_us) TRY_IN("roll back", see_who_stopped_it(handed));
      moved_paused_ = moved_paused_ || found_paused;
    }
    if (!halt_) halt_ = end_or_suspension();
    if (stopped_by_us_ && !halt_) {
      TRY_IN("roll back", patiently(*vm_.qmp, [&] { return let_run(*vm_.qmp, kRollBackPatience); }));
      // QEMU before 9.1 closes nothing while its guest is paused.
      if (under_way && way_ == DeviceWay::kDirect) take_back_left_files(*vm_.qmp);
    }
    stopped_by_us_ = false;
    if (!halt_) halt_ = state_as_halt();
    return {};
  }

  /// For a guest that nobody lets run now; else `cont` does it. QEMU before 10.0 cannot without running the guest.
  void take_disks_back() { (void)vm_.qmp->execute("blockdev-set-active", Json{{"active", true}}); }

  void end_handover() {
    ordered_ = prepared_ = false;
    handover_.reset();
  }

  Result<HandoverOrder> make_order(Duration max_downtime) {
    if (vcpus_.empty()) vcpus_ = TRY(vcpu_threads(*vm_.qmp));
    return HandoverOrder{.lengths = way_ == DeviceWay::kDirect ? moved_lengths() : ram_lengths_,
                         .limits = ram_limits_,
                         .look_again = [this] { return look_again_quickly(vm_); },
                         .vcpus_ran = [this] { return vcpu_run_time(*vm_.process, vcpus_).value_or(0); },
                         .downtime_limit_ms = downtime_limit_ms(max_downtime),
                         .highest_limit_ms = static_cast<std::uint64_t>(
                             std::max(duration_cast<milliseconds>(max_downtime), milliseconds(1)).count())};
  }

  /// In spite of x-ignore-shared. QEMU 10 sends memfds, too: those are not counted here, because an older one does not.
  std::uint64_t bytes_that_qemu_sends() const {
    std::uint64_t bytes = 0;
    for (const auto& block : vm_.inspection.blocks) bytes += block.backing == Backing::kPrivate ? block.size : 0;
    return bytes;
  }

  Status make_settings(const HandoverOrder& order) {
    if (settings_) return {};
    settings_ = TRY(MigrationSettings::apply(*vm_.qmp, {"x-ignore-shared", "events"},
                                             Json{{"max-bandwidth", kUnlimited},
                                                  {"downtime-limit", order.downtime_limit_ms},
                                                  {"avail-switchover-bandwidth", 0},
                                                  {"mode", "normal"},
                                                  {"tls-creds", ""}},
                                             record_));
    return {};
  }

  Status restore() {
    if (settings_) TRY(settings_->restore());
    settings_.reset();
    return {};
  }

  QemuVm& vm_;
  VmRecord& record_;
  const Clock& clock_;
  std::map<std::string, std::uint64_t> ram_lengths_;  ///< of all RAM blocks when last looked at; empty: never
  std::map<std::string, std::uint64_t> ram_limits_;
  std::vector<pid_t> vcpus_;
  DeviceWay way_;
  const bool must_;
  std::string why_stream_;
  std::unique_ptr<GuestMemory> main_memory_;  ///< where vm_.memory is more than is moved
  const bool starts_paused_;
  LifeWatch life_;
  std::optional<Halt> halt_;
  bool moved_paused_;                            ///< paused by somebody else, and moved so
  unsigned resumes_before_ = 0;                  ///< of the guest, when that began
  std::optional<unsigned> resumes_when_paused_;  ///< when QEMU last said that somebody has paused it
  bool both_keep_suspended_ = false;             ///< one that is suspended to RAM, here and at the sink
  bool stopped_by_us_ = false;
  bool end_awaited_ = false;
  std::atomic<bool> interrupted_{false};
  std::unique_ptr<MigrationSettings> settings_;
  std::unique_ptr<DeviceHandover> handover_;
  bool prepared_ = false;  ///< that hand-over
  bool ordered_ = false;   ///< likewise
};

}  // namespace

std::unique_ptr<SourceVm> make_source_vm(QemuVm& vm, const DeviceChoice& choice, VmRecord& record, const Clock& clock) {
  return std::make_unique<QemuSourceVm>(vm, choice, record, clock);
}

}  // namespace godwit::qemu
