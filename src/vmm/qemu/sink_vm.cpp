// A waiting QEMU that takes a guest in.
//
//   engine --load()--> socket --fd:godwit--> QEMU: waits ("inmigrate") ... loads ... stands ("paused")   [cont] runs
//
// Whether QEMU was started with -S does not matter: `stop` in "inmigrate" takes the start at the end of the load away,
// and that is the first thing done here. So the only way in which the guest ever starts is resume().
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "vmm/qemu/json_access.h"
#include "vmm/qemu/migration_settings.h"
#include "vmm/qemu/migration_watch.h"
#include "vmm/qemu/qemu_vm.h"
#include "vmm/qemu/run_state.h"
#include "vmm/qemu/settle.h"
#include "vmm/qemu/stream_socket.h"
#include "vmm/qemu/warm_up.h"

namespace godwit::qemu {
namespace {

constexpr std::string_view kSocketName = "godwit-stream";
constexpr Duration kResumePatience = std::chrono::seconds(30);
// A QEMU whose stream breaks off says "failed" or ends, in milliseconds.
constexpr Duration kReasonPatience = std::chrono::seconds(2);

class QemuSinkVm final : public SinkVm {
 public:
  explicit QemuSinkVm(QemuVm& vm) : vm_(vm) {}

  const Fingerprint& fingerprint() const noexcept override { return vm_.inspection.fingerprint; }
  GuestMemory& memory() noexcept override { return *vm_.memory; }

  Status open_incoming() override;
  Status load(Bytes bytes) override;
  Status finish_load() override;
  Status await_loaded(Duration timeout) override;
  Status resume() override;
  Status stay_paused() override;
  Status announce() override;
  void warm_up(ChunkIndex chunk, PageWord pages) noexcept override;
  void give_up() noexcept override;

  Status check_alive() const override {
    if (!watch_.look().lost) return {};
    return fail(ErrorKind::kHypervisor,
                "the destination's QEMU has ended; why, it wrote in its own log (often: a device that differs)");
  }

  void interrupt() noexcept override {
    interrupted_ = true;
    watch_.interrupt();
  }

 private:
  Status begin_load();
  Status wait_for_room();
  Status check_run_state();
  tl::unexpected<Error> load_failed();

  QemuVm& vm_;
  std::atomic<bool> interrupted_{false};
  MigrationWatch watch_{*vm_.qmp};
  std::unique_ptr<MigrationSettings> settings_;
  UniqueFd socket_;
  bool loading_ = false;  // QEMU has been told to take a stream in, and has not said that it has
};

Status QemuSinkVm::open_incoming() {
  if (interrupted_) return fail(ErrorKind::kCancelled, "interrupted");
  if (settings_) return fail(ErrorKind::kInvalidArgument, "the incoming migration is open already");
  const std::string status = text_at(TRY(vm_.qmp->execute("query-status")), "status");
  if (status != "inmigrate") {
    return fail(ErrorKind::kRefused,
                fmt::format("this QEMU does not wait for a VM (-incoming defer): it is '{}'", status));
  }
  TRY(vm_.qmp->execute("stop"));
  settings_ = TRY(MigrationSettings::apply(*vm_.qmp, {"x-ignore-shared", "events", "late-block-activate"},
                                           Json{{"tls-creds", ""}}));
  return {};
}

/// With the first bytes, not before: from here on a QEMU whose stream breaks off ends itself.
Status QemuSinkVm::begin_load() {
  UniqueFd socket = TRY(give_stream_socket(*vm_.qmp, kSocketName));
  auto begun = vm_.qmp->execute("migrate-incoming", Json{{"uri", fmt::format("fd:{}", kSocketName)}});
  if (!begun) {
    withdraw_stream_socket(*vm_.qmp, kSocketName);
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
  if (seen.lost || seen.settled()) return load_failed();
  return {};
}

Status QemuSinkVm::finish_load() {
  if (!socket_) return fail(ErrorKind::kInvalidArgument, "nothing has been loaded");
  if (::shutdown(socket_.get(), SHUT_WR) != 0 && errno != ENOTCONN) return fail_os("end QEMU's incoming stream");
  return {};
}

Status QemuSinkVm::await_loaded(Duration timeout) {
  const auto seen = watch_.await([](const auto& s) { return s.settled() || s.lost || s.interrupted; }, timeout);
  if (seen.status == "completed") {
    loading_ = false;
    if (!seen.resumed) return check_run_state();
    // A `cont` while it waited has set it to start by itself.
    (void)vm_.qmp->execute("stop");
    return fail(ErrorKind::kHypervisor, "somebody else let the guest run here before the move was committed");
  }
  if (seen.interrupted) return fail(ErrorKind::kCancelled, "interrupted");
  if (seen.lost || seen.settled()) return load_failed();
  return fail(ErrorKind::kTimedOut, "QEMU has not loaded the devices in time");
}

/// The state that came with the stream: a guest that has ended, or that QEMU would not let run, is refused before the
/// source gives it up.
Status QemuSinkVm::check_run_state() {
  const std::string status = text_at(TRY(vm_.qmp->execute("query-status")), "status");
  if (is_paused(status)) return {};
  const auto halt = halt_of(status);
  return fail(ErrorKind::kHypervisor, fmt::format("the VM arrived in a state in which it cannot be let run: {} ('{}')",
                                                  halt ? halt->what : "it runs already", status));
}

/// Why QEMU did not take the stream: in its own words where it can still speak.
tl::unexpected<Error> QemuSinkVm::load_failed() {
  const auto seen = watch_.await([](const auto& s) { return s.settled() || s.lost || s.interrupted; }, kReasonPatience);
  const auto state = vm_.qmp->execute("query-migrate");
  if (!state || seen.lost) {
    return fail(ErrorKind::kHypervisor,
                "QEMU ended itself while it loaded the devices; why, it wrote on its stderr (see its log)");
  }
  const std::string reason = text_at(*state, "error-desc");
  return fail(ErrorKind::kHypervisor, fmt::format("QEMU did not load the devices ('{}'){}{}; see its log too",
                                                  text_at(*state, "status"), reason.empty() ? "" : ": ", reason));
}

Status QemuSinkVm::resume() {
  // Not interruptible: who asks for this has committed.
  const auto let = vm_.qmp->execute("cont");
  if (!let) return fail(Error(let.error()).in("let the guest run"));
  if (watch_.look().resumed) return {};  // the event comes before the command's answer
  return let_run(*vm_.qmp, kResumePatience);
}

Status QemuSinkVm::stay_paused() {
  socket_.reset();
  if (settings_) TRY(settings_->restore());
  settings_.reset();
  return {};
}

Status QemuSinkVm::announce() {
  socket_.reset();
  // QEMU's own defaults: five rounds in two seconds.
  TRY(vm_.qmp->execute("announce-self", Json{{"initial", 50}, {"max", 550}, {"rounds", 5}, {"step", 100}}));
  if (settings_) TRY(settings_->restore());
  settings_.reset();
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

void QemuSinkVm::give_up() noexcept {
  socket_.reset();
  // A QEMU in the midst of a load ends itself now. Another one keeps what it had; one that has loaded all stands and
  // keeps the guest's memory, which after a lost commit may be the only copy.
  if (!loading_ && settings_) (void)settings_->restore();
  settings_.reset();
}

}  // namespace

std::unique_ptr<SinkVm> make_sink_vm(QemuVm& vm, const Clock&) {
  return std::make_unique<QemuSinkVm>(vm);
}

}  // namespace godwit::qemu
