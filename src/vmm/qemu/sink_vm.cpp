// A waiting QEMU that takes a guest in.
//
//   engine --load()--> socket --fd:godwit--> QEMU: waits ("inmigrate") ... loads ... is "paused"   [cont] runs
//
// Whether QEMU was started with -S does not matter: `stop` in "inmigrate" takes the start at the end of the load away,
// and that is the first thing done here. So the only way in which the guest ever starts is resume().
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <future>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "base/task_queue.h"
#include "postcopy/uffd_missing_pages.h"
#include "vmm/qemu/cached_images.h"
#include "vmm/qemu/descriptor_lender.h"
#include "vmm/qemu/json_access.h"
#include "vmm/qemu/log_end.h"
#include "vmm/qemu/migration_end.h"
#include "vmm/qemu/migration_settings.h"
#include "vmm/qemu/migration_watch.h"
#include "vmm/qemu/qemu_vm.h"
#include "vmm/qemu/run_state.h"
#include "vmm/qemu/second_look.h"
#include "vmm/qemu/stream_socket.h"
#include "vmm/qemu/warm_up.h"

namespace godwit::qemu {
namespace {

// So long a look at what the VM consists of is good enough.
constexpr Duration kLookIsFresh = std::chrono::milliseconds(20);
constexpr Duration kResumePatience = std::chrono::seconds(30);
// A QEMU whose stream breaks off says "failed" or ends, in milliseconds.
constexpr Duration kReasonPatience = std::chrono::seconds(2);
// A `cont` that was not answered in time waits for storage: as long as the engine would go on asking.
constexpr Duration kHungPatience = std::chrono::seconds(60);
// Between two looks whether a `cont` has been refused.
constexpr Duration kAskEvery = std::chrono::milliseconds(1);
// After `quit` QEMU flushes and closes its disks.
constexpr Duration kQuitPatience = std::chrono::seconds(10);

constexpr std::string_view kRunByOthers = "somebody else let the guest run here before the move was committed";

/// Nothing that is locked can be taken away.
bool has_locked_memory(pid_t pid) {
  std::ifstream status(fmt::format("/proc/{}/status", pid));
  for (std::string line; std::getline(status, line);) {
    unsigned long kilobytes = 0;
    if (std::sscanf(line.c_str(), "VmLck: %lu kB", &kilobytes) == 1) return kilobytes != 0;
  }
  return false;
}

class QemuSinkVm final : public SinkVm {
 public:
  QemuSinkVm(QemuVm& vm, DeviceChoice choice, VmRecord& record, const Clock& clock,
             std::function<void(const GuestStart&)> on_start)
      : vm_(vm), choice_(std::move(choice)), record_(record), clock_(clock), on_start_(std::move(on_start)) {}

  const Fingerprint& fingerprint() const noexcept override { return vm_.inspection.fingerprint; }
  GuestMemory& memory() noexcept override { return *vm_.memory; }
  DeviceWay way() const noexcept override { return choice_.way; }
  const std::string& why_stream() const noexcept override { return choice_.why_stream; }

  Result<std::unique_ptr<MissingPages>> open_missing_pages() override;
  Status open_incoming() override;
  Status load(Bytes bytes) override;
  Status finish_load() override;
  Status check_unchanged() override;
  Status await_loaded(Duration timeout) override;
  Status resume() override;
  Status end_unrun() override;
  Status stay_paused() override;
  Status announce() override;
  void warm_up(ChunkIndex chunk, PageWord pages) noexcept override;
  void give_up() noexcept override;

  Status check_alive() const override {
    if (!watch_.look().lost) return {};
    return fail(ErrorKind::kHypervisor, "the destination's QEMU has ended" + in_its_words());
  }

  Status check_waits() const override {
    TRY(check_alive());
    // From here on its migration is ours, and await_loaded() knows what to do with a guest that others let run.
    if (load_ordered_) return {};
    const auto seen = watch_.look();
    if (seen.resumed) return fail(ErrorKind::kHypervisor, std::string(kRunByOthers));
    // QEMU tells of migrations since open_incoming().
    if (!seen.status.empty()) {
      return fail(ErrorKind::kHypervisor, fmt::format("somebody else has this QEMU take in another VM (its incoming "
                                                      "migration is '{}')",
                                                      seen.status));
    }
    return {};
  }

  void interrupt() noexcept override {
    interrupted_ = true;
    watch_.interrupt();
  }

 private:
  Status begin_load();
  Status wait_for_room();
  Status check_exports();
  bool await_process_end(Duration timeout) const;
  Status check_run_state();
  tl::unexpected<Error> load_failed();
  std::string in_its_words() const;
  Status runs(Instant asked);

  QemuVm& vm_;
  const DeviceChoice choice_;
  VmRecord& record_;
  const Clock& clock_;
  std::function<void(const GuestStart&)> on_start_;
  std::atomic<bool> interrupted_{false};
  MigrationWatch watch_{*vm_.qmp};
  std::unique_ptr<MigrationSettings> settings_;
  UniqueFd socket_;
  LogEnd log_ = LogEnd::of(vm_.process->pid());
  std::jthread cache_dropper_;
  std::atomic<bool> load_ordered_{false};  // this engine has told QEMU to take a stream in, or is about to
  bool loading_ = false;                   // QEMU has been told to take a stream in, and has not said that it has
  Instant looked_at_{};                    // at what this VM consists of
  bool may_have_run_ = false;              // a `cont` was not refused
  std::atomic<Instant> cont_sent_{};       // the latest `cont`
  std::future<Result<Json>> answer_;       // to the latest `cont`
  // Asks for it. Its thread runs before anything is changed here: after a commit a host that gives no more threads
  // would leave the guest paused for good. Last, so that it is waited for before anything else here ends.
  TaskQueue asker_{1};
};

Result<std::unique_ptr<MissingPages>> QemuSinkVm::open_missing_pages() {
  const auto& layout = vm_.memory->layout();
  std::vector<MissingRange> ranges;
  for (std::size_t i = 0; i < vm_.blocks.size(); ++i) {
    const BlockInfo& block = vm_.blocks[i];
    ranges.push_back({.name = block.name,
                      .address = block.address,
                      .length = block.size,
                      .page_size = block.page_size,
                      .first_chunk = layout.blocks()[i].first_chunk});
    if (block.backing == Backing::kPrivate && block.mapping.inode == 0) continue;
    // What is taken away of a private mapping shows what lies in the file, and nobody waits.
    if (block.backing == Backing::kPrivate) {
      return fail(ErrorKind::kUnsupported,
                  fmt::format("RAM block '{}' is a file that is mapped privately (share=off)", block.name));
    }
    // Whoever reads the file past QEMU would find zeros in place of what has not come.
    if (const auto others = TRY(vm_.process->others_mapping(block.mapping)); !others.empty()) {
      return fail(ErrorKind::kUnsupported,
                  fmt::format("{} has RAM block '{}' mapped, too", fmt::join(others, ", "), block.name));
    }
    ranges.back().file = TRY(vm_.process->open_backing_file(block.mapping));
    ranges.back().file_offset = block.mapping.offset + (block.address - block.mapping.start);
  }
  if (has_locked_memory(vm_.process->pid())) {
    return fail(ErrorKind::kUnsupported, "QEMU's memory is locked (-overcommit mem-lock=on)");
  }
  const auto lender = make_descriptor_lender(*vm_.qmp, *vm_.process);
  return godwit::open_missing_pages(*vm_.process, std::move(ranges), lender.get());
}

Status QemuSinkVm::open_incoming() {
  if (interrupted_) return fail(ErrorKind::kCancelled, "interrupted");
  if (settings_) return fail(ErrorKind::kInvalidArgument, "the incoming migration is open already");
  const std::string status = text_at(TRY(vm_.qmp->execute("query-status")), "status");
  if (status != "inmigrate") {
    return fail(ErrorKind::kRefused,
                fmt::format("this QEMU does not wait for a VM (-incoming defer): it is '{}'", status));
  }
  TRY(check_exports());
  TRY(look_again_at_sink(vm_));
  if (choice_.way == DeviceWay::kDirect) TRY(check_other_blocks(vm_));
  TRY(vm_.qmp->execute("stop"));
  std::set<std::string> capabilities{"events", "late-block-activate"};
  // A stream without RAM in it names no capabilities, and QEMU compares this one.
  if (choice_.way == DeviceWay::kStream) capabilities.insert("x-ignore-shared");
  settings_ = TRY(MigrationSettings::apply(*vm_.qmp, capabilities, Json{{"tls-creds", ""}}, record_));
  cache_dropper_ = drop_cached_images(*vm_.qmp, *vm_.process, vm_.inspection.fingerprint.disks);
  return {};
}

/// Whoever writes to a disk of this VM by an export of it has it activated: QEMU refuses to let the guest run then, or
/// runs it beside another writer. One that is opened later is met by trying `cont` again.
Status QemuSinkVm::check_exports() {
  const auto exports = query_array(*vm_.qmp, "query-block-exports");
  if (!exports && exports.error().kind == ErrorKind::kUnsupported) return {};
  if (!exports) return fail(Error(exports.error()));
  for (const Json& one : *exports) {
    return fail(ErrorKind::kRefused,
                fmt::format("the destination's QEMU still exports its disk '{}' (export '{}', {}): end the export",
                            text_at(one, "node-name"), text_at(one, "id"), text_at(one, "type")));
  }
  return {};
}

/// With the first bytes, not before: from here on a QEMU whose stream breaks off ends itself, or (since 9.1, if it is
/// told so) stays to say why, and then takes no other VM in.
Status QemuSinkVm::begin_load() {
  UniqueFd socket = std::move(TRY(give_stream_socket(*vm_.qmp, kStreamSocketName)).ours);
  const std::string uri = fmt::format("fd:{}", kStreamSocketName);
  load_ordered_ = true;
  auto begun = vm_.qmp->execute("migrate-incoming", Json{{"uri", uri}, {"exit-on-error", false}});
  // An older one names the argument that it does not know, and has begun nothing.
  const bool older = !begun && begun.error().message.find("exit-on-error") != std::string::npos;
  if (older) begun = vm_.qmp->execute("migrate-incoming", Json{{"uri", uri}});
  if (!begun) {
    withdraw_stream_socket(*vm_.qmp, kStreamSocketName);
    return fail(std::move(begun).error());
  }
  socket_ = std::move(socket);
  loading_ = true;
  return {};
}

Status QemuSinkVm::load(Bytes bytes) {
  if (!settings_) return fail(ErrorKind::kInvalidArgument, "the incoming migration is not open");
  if (!socket_) TRY(begin_load());
  while (!bytes.empty()) {
    if (interrupted_) return fail(ErrorKind::kCancelled, "interrupted");
    const ssize_t sent = ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(sent));
    } else if (errno == EAGAIN) {
      TRY(wait_for_room());
    } else if (errno == EPIPE || errno == ECONNRESET) {
      return load_failed();
    } else if (errno != EINTR) {
      return fail_os("write to QEMU's incoming stream");
    }
  }
  return {};
}

/// Until QEMU has read some, or will read no more.
Status QemuSinkVm::wait_for_room() {
  std::array<pollfd, 2> wait{pollfd{socket_.get(), POLLOUT, 0}, pollfd{watch_.wake_descriptor(), POLLIN, 0}};
  ::poll(wait.data(), wait.size(), -1);
  const auto seen = watch_.look();
  if (seen.interrupted) return fail(ErrorKind::kCancelled, "interrupted");
  // "completed" with more to come is a stream that is longer than QEMU reads it.
  if (seen.lost || seen.ended()) return load_failed();
  return {};
}

Status QemuSinkVm::finish_load() {
  if (!socket_) return fail(ErrorKind::kInvalidArgument, "nothing has been loaded");
  if (::shutdown(socket_.get(), SHUT_WR) != 0 && errno != ENOTCONN) return fail_os("end QEMU's incoming stream");
  return {};
}

Status QemuSinkVm::await_loaded(Duration timeout) {
  const auto seen = watch_.await([](const auto& s) { return s.ended() || s.lost || s.interrupted; }, timeout);
  if (seen.status == "completed") {
    loading_ = false;
    if (!seen.resumed) return check_run_state();
    // A `cont` while it waited has set it to start by itself.
    (void)vm_.qmp->execute("stop");
    return fail(ErrorKind::kHypervisor, std::string(kRunByOthers));
  }
  if (seen.interrupted) return fail(ErrorKind::kCancelled, "interrupted");
  if (seen.lost || seen.ended()) return load_failed();
  return fail(ErrorKind::kTimedOut, "QEMU has not loaded the devices in time");
}

/// What it has written since it was attached to; where that cannot be read, where to look.
std::string QemuSinkVm::in_its_words() const {
  const std::string said = log_.lines();
  if (!said.empty()) return fmt::format("; it says: {}", said);
  return "; the reason is on its stderr (see its log; often a device that differs)";
}

/// Somebody may have plugged something in here while memory was copied; the source still has its guest. Asked while the
/// source saves its devices: after the load the guest would wait for these answers.
Status QemuSinkVm::check_unchanged() {
  Status unchanged = look_again_at_sink(vm_);
  // One that could not load what it has got so far has ended itself, or is about to.
  if (!unchanged && unchanged.error().kind != ErrorKind::kRefused && loading_) return load_failed();
  looked_at_ = clock_.now();
  return unchanged;
}

/// The state that came with the stream: a guest that has ended, or that QEMU would not let run, is refused before the
/// source gives it up.
Status QemuSinkVm::check_run_state() {
  const std::string status = text_at(TRY(vm_.qmp->execute("query-status")), "status");
  if (is_paused(status)) {
    if (const auto seen = watch_.look(); !seen.change.empty()) return fail(changed_meanwhile({seen.change}));
    // A pause that has been long already leaves more time for changes, and is little longer for a look.
    return clock_.now() - looked_at_ > kLookIsFresh ? look_again_at_sink(vm_) : Status{};
  }
  const auto halt = halt_of(status);
  return fail(ErrorKind::kHypervisor, fmt::format("the VM arrived in a state in which it cannot be let run: {} ('{}')",
                                                  halt ? halt->what : "it runs already", status));
}

/// Why QEMU did not take the stream: in its own words where it can still speak.
tl::unexpected<Error> QemuSinkVm::load_failed() {
  const auto seen = watch_.await([](const auto& s) { return s.ended() || s.lost || s.interrupted; }, kReasonPatience);
  const auto state = vm_.qmp->execute("query-migrate");
  if (!state || seen.lost) {
    return fail(ErrorKind::kHypervisor, "QEMU ended itself while it loaded the devices" + in_its_words());
  }
  const std::string reason = text_at(*state, "error-desc");
  return fail(
      ErrorKind::kHypervisor,
      fmt::format("QEMU did not load the devices ('{}'){}{}{}; this QEMU takes in no other VM now: start it again",
                  text_at(*state, "status"), reason.empty() ? "" : ": ", reason, in_its_words()));
}

Status QemuSinkVm::resume() {
  // Not interruptible: who asks for this has committed. QEMU tells that the guest runs before it answers, and vCPUs
  // that take its lock at once hold the answer back, on a busy host for 20 ms and more: nobody waits for that.
  const Instant asked = clock_.now();
  auto answer = std::make_shared<std::promise<Result<Json>>>();
  answer_ = answer->get_future();
  asker_.add([this, answer = std::move(answer)] {
    cont_sent_ = clock_.now();
    answer->set_value(vm_.qmp->execute("cont"));
  });
  while (answer_.wait_for(Duration::zero()) != std::future_status::ready) {
    if (watch_.await([](const auto& s) { return s.resumed; }, kAskEvery).resumed) {
      may_have_run_ = true;
      return runs(asked);
    }
  }
  const auto let = answer_.get();
  if (!let && let.error().kind == ErrorKind::kHypervisor && !may_have_run_ && !watch_.look().resumed) {
    return fail(ErrorKind::kRefused, let.error().message);
  }
  may_have_run_ = true;
  if (!let && let.error().kind == ErrorKind::kTimedOut) {
    const auto seen = watch_.await([](const auto& s) { return s.resumed || s.lost; }, kHungPatience);
    if (seen.resumed) return runs(asked);
  }
  if (!let) return fail(Error(let.error()).in("let the guest run"));
  if (watch_.look().resumed) return runs(asked);  // the event comes before the command's answer
  return let_run(*vm_.qmp, kResumePatience);
}

Status QemuSinkVm::runs(Instant asked) {
  const Instant heard = clock_.now();
  const Instant sent = std::clamp(cont_sent_.load(), asked, heard);
  // QEMU's clock is the host's time of day, and both are taken one after the other.
  const Instant resumed = std::clamp(watch_.look().resumed_at.value_or(heard), sent, heard);
  if (on_start_) on_start_({.asked = asked, .sent = sent, .resumed = resumed, .heard = heard});
  return {};
}

/// Certain is: QEMU has refused each `cont` of this engine; it answered `quit` without having told of a RESUME, and
/// after that it lets nobody's guest run.
Status QemuSinkVm::end_unrun() {
  const auto uncertain = [](std::string_view why) {
    return fail(ErrorKind::kHypervisor, fmt::format("it is not certain that the guest never ran here: {}", why));
  };
  if (may_have_run_) return uncertain("QEMU did not refuse to let it run");
  if (vm_.process->alive()) {
    const auto state = vm_.qmp->execute("query-status");
    if (watch_.look().resumed || (state && bool_at(*state, "running"))) {
      return uncertain("somebody else has let it run");
    }
    if (!state && vm_.process->alive()) return uncertain(state.error().message);
    // One that does not answer may do it later all the same: now its end is the only way to be certain.
    (void)vm_.qmp->execute("quit");
  }
  if (!await_process_end(kQuitPatience)) {
    ::syscall(SYS_pidfd_send_signal, vm_.process->pidfd(), SIGKILL, nullptr, 0);
    if (!await_process_end(kQuitPatience)) return uncertain("its QEMU does not end");
  }
  // All that it said before its end has been read when its monitor is.
  const auto seen = watch_.await([](const auto& s) { return s.lost; }, kReasonPatience);
  if (!seen.lost || seen.resumed) return uncertain("somebody else has let it run");
  record_.settings_put_back();
  settings_.reset();
  return {};
}

Status QemuSinkVm::stay_paused() {
  const std::string status = text_at(TRY(vm_.qmp->execute("query-status")), "status");
  if (!is_paused(status)) {
    return fail(ErrorKind::kHypervisor, fmt::format("the guest was to stay paused here, and is '{}'", status));
  }
  socket_.reset();
  if (settings_) (void)settings_->restore();  // failing that, they stay on record
  settings_.reset();
  return {};
}

bool QemuSinkVm::await_process_end(Duration timeout) const {
  const auto ms = static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(timeout).count());
  pollfd ended{vm_.process->pidfd(), POLLIN, 0};
  int ready = 0;
  do {
    ready = ::poll(&ended, 1, ms);
  } while (ready < 0 && errno == EINTR);
  return ready > 0;
}

Status QemuSinkVm::announce() {
  socket_.reset();
  // QEMU's own defaults: five rounds in two seconds.
  const auto announced =
      vm_.qmp->execute("announce-self", Json{{"initial", 50}, {"max", 550}, {"rounds", 5}, {"step", 100}});
  if (settings_) TRY_IN("put QEMU's migration settings back", settings_->restore());
  settings_.reset();
  if (!announced) return fail(Error(announced.error()).in("announce it on the network"));
  return {};
}

/// Private memory was written through the process and is mapped; of huge pages there are few.
void QemuSinkVm::warm_up(ChunkIndex chunk, PageWord pages) noexcept {
  const RamLayout& layout = vm_.memory->layout();
  const auto place = layout.locate(chunk);
  for (const BlockInfo& block : vm_.inspection.blocks) {
    if (block.name != layout.blocks()[place.block].name) continue;
    if (block.backing == Backing::kPrivate || block.page_size != kPageSize) return;
    return qemu::warm_up(*vm_.process, block.address + place.offset, pages);
  }
}

/// A QEMU in the midst of a load ends itself now, or says that it failed. Another one keeps what it had; one that has
/// loaded all is paused and keeps the guest's memory, which after a lost commit may be the only copy.
void QemuSinkVm::give_up() noexcept {
  socket_.reset();
  const auto deadline = std::chrono::steady_clock::now() + kReasonPatience;
  while (loading_ && !watch_.look().lost && std::chrono::steady_clock::now() < deadline) {
    const auto state = vm_.qmp->execute("query-migrate");
    loading_ = !state || is_under_way(text_at(*state, "status"));
    if (loading_) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  if (watch_.look().lost && !vm_.process->alive()) {
    record_.settings_put_back();  // with the QEMU that had them
  } else if (settings_) {
    (void)settings_->restore();
  }
  settings_.reset();
}

}  // namespace

std::unique_ptr<SinkVm> make_sink_vm(QemuVm& vm, DeviceChoice choice, VmRecord& record, const Clock& clock,
                                     std::function<void(const GuestStart&)> on_start) {
  return std::make_unique<QemuSinkVm>(vm, std::move(choice), record, clock, std::move(on_start));
}

}  // namespace godwit::qemu
