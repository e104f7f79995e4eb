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
#include "vmm/qemu/log_tail.h"
#include "vmm/qemu/migration_settings.h"
#include "vmm/qemu/migration_watch.h"
#include "vmm/qemu/qemu_vm.h"
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
  Status announce() override;
  void warm_up(ChunkIndex chunk, PageWord pages) noexcept override;
  void give_up() noexcept override;

  Status check_alive() const override {
    if (!watch_.look().lost) return {};
    return fail(ErrorKind::kHypervisor, "the destination's QEMU has ended" + in_its_words());
  }

  void interrupt() noexcept override {
    interrupted_ = true;
    watch_.interrupt();
  }

 private:
  Status begin_load();
  Status wait_for_room();
  tl::unexpected<Error> load_failed();
  std::string in_its_words() const;

  QemuVm& vm_;
  std::atomic<bool> interrupted_{false};
  MigrationWatch watch_{*vm_.qmp};
  std::unique_ptr<MigrationSettings> settings_;
  UniqueFd socket_;
  LogTail log_ = LogTail::of(vm_.process->pid());
  bool loading_ = false;   // QEMU has been told to take a stream in, and has not said that it has
  bool survives_ = false;  // a load that fails does not end this QEMU
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

/// With the first bytes, not before: from here on a QEMU whose stream breaks off ends itself, or (since 9.1, if it is
/// told so) stays to say why, and then takes no other VM in.
Status QemuSinkVm::begin_load() {
  UniqueFd socket = TRY(give_stream_socket(*vm_.qmp, kSocketName));
  const std::string uri = fmt::format("fd:{}", kSocketName);
  auto begun = vm_.qmp->execute("migrate-incoming", Json{{"uri", uri}, {"exit-on-error", false}});
  survives_ = begun.has_value();
  // An older one names the argument that it does not know, and has begun nothing.
  const bool older = !begun && begun.error().message.find("exit-on-error") != std::string::npos;
  if (older) begun = vm_.qmp->execute("migrate-incoming", Json{{"uri", uri}});
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
    if (!seen.resumed) return {};
    // A `cont` while it waited has set it to start by itself.
    (void)vm_.qmp->execute("stop");
    return fail(ErrorKind::kHypervisor, "somebody else let the guest run here before the move was committed");
  }
  if (seen.interrupted) return fail(ErrorKind::kCancelled, "interrupted");
  if (seen.lost || seen.settled()) return load_failed();
  return fail(ErrorKind::kTimedOut, "QEMU has not loaded the devices in time");
}

/// What it has written since it was attached to; where that cannot be read, where to look.
std::string QemuSinkVm::in_its_words() const {
  const std::string said = log_.lines();
  if (!said.empty()) return fmt::format("; it says: {}", said);
  return "; the reason is on its stderr (see its log; often a device that differs)";
}

/// Why QEMU did not take the stream: in its own words where it can still speak.
tl::unexpected<Error> QemuSinkVm::load_failed() {
  const auto seen = watch_.await([](const auto& s) { return s.settled() || s.lost || s.interrupted; }, kReasonPatience);
  const auto state = vm_.qmp->execute("query-migrate");
  if (!state || seen.lost) {
    return fail(ErrorKind::kHypervisor, "QEMU ended itself while it loaded the devices" + in_its_words());
  }
  const std::string reason = text_at(*state, "error-desc");
  return fail(
      ErrorKind::kHypervisor,
      fmt::format("QEMU did not load the devices ('{}'){}{}{}; this QEMU takes in no other VM now: start it anew",
                  text_at(*state, "status"), reason.empty() ? "" : ": ", reason, in_its_words()));
}

Status QemuSinkVm::resume() {
  // Not interruptible: who asks for this has committed.
  const auto let = vm_.qmp->execute("cont");
  if (!let) return fail(Error(let.error()).in("let the guest run"));
  if (watch_.look().resumed) return {};  // the event comes before the command's answer
  return let_run(*vm_.qmp, kResumePatience);
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
  // A QEMU in the midst of a load ends itself now, or fails and stays. Another one keeps what it had; one that has
  // loaded all stands and keeps the guest's memory, which after a lost commit may be the only copy.
  if (loading_ && survives_) {
    const auto seen = watch_.await([](const auto& s) { return s.settled() || s.lost; }, kReasonPatience);
    loading_ = !seen.settled();
  }
  if (!loading_ && settings_) (void)settings_->restore();
  settings_.reset();
}

}  // namespace

std::unique_ptr<SinkVm> make_sink_vm(QemuVm& vm, const Clock&) {
  return std::make_unique<QemuSinkVm>(vm);
}

}  // namespace godwit::qemu
