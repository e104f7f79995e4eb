#include "vmm/qemu/stream_intake.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "base/cpu_account.h"
#include "base/units.h"
#include "vmm/qemu/handover_mark.h"
#include "vmm/qemu/json_access.h"
#include "vmm/qemu/run_state.h"
#include "vmm/qemu/second_look.h"

namespace godwit::qemu {
namespace {

// QEMU writes 64 pages at once; larger reads save system calls, and this still fits in L2.
constexpr std::size_t kPiece = std::size_t{1} << 20;
// A QEMU whose main loop turns answers within milliseconds, on a host that is far too busy within a second or two.
constexpr Duration kSilence = std::chrono::seconds(4);
constexpr int kLookAroundMs = 500;
// A vCPU that is stopped is woken now and then.
constexpr std::uint64_t kHardlyRunNs = 1'000'000;
// Between the end of the stream and the event that says how it ended lie milliseconds.
constexpr Duration kEndPatience = std::chrono::seconds(10);
constexpr Duration kForEver = std::chrono::hours(24 * 365);
// Its state follows within milliseconds: two seconds in all.
constexpr unsigned kTriesForTheEnd = 1000;
constexpr Duration kPauseBeforeATry = std::chrono::milliseconds(2);

}  // namespace

Result<std::unique_ptr<StreamIntake>> StreamIntake::open(bool paused, HandoverObserver& observer, VmRecord& record,
                                                         const Clock& clock) {
  std::unique_ptr<StreamIntake> intake(new StreamIntake(paused, observer, record, clock));
  intake->socket_ = TRY(make_stream_socket());
  return intake;
}

void StreamIntake::begin(OrderedStream ordered, Qmp& qmp, MigrationWatch& watch) {
  ordered_ = std::move(ordered);
  qmp_ = &qmp;
  watch_ = &watch;
  filter_ = make_stream_filter(ordered_.filter, *this);
  reader_ = job_thread([this] { run(); });
}

void StreamIntake::allow(std::uint64_t records) noexcept {
  allowed_ = records;
  allowed_more_.wake();
}

bool StreamIntake::holds_back() const noexcept {
  const PageRecords records = filter_->page_records();
  return records.pages + records.zeros >= allowed_;
}

void StreamIntake::end() noexcept {
  ending_ = true;
  if (socket_.ours) ::shutdown(socket_.ours.get(), SHUT_RDWR);
  if (reader_.joinable()) reader_.join();
}

Status StreamIntake::pass(Bytes bytes) {
  // In RAM's END section are pages of video memory, which the guest fills as it likes.
  if (filter_->page_records().all) {
    global_state_.feed(bytes);
    TRY(check_run_state());
  } else if (stopped_) {
    TRY(check_own_ram(bytes.size()));
  }
  return observer_.device_bytes(bytes);
}

/// Somebody else may have stopped or started the guest, or it have ended, between the last look and QEMU's own stop.
Status StreamIntake::check_run_state() {
  if (global_state_.contradicts_itself()) {
    return fail(ErrorKind::kRefused, "QEMU's stream tells different states in which the guest was when it was stopped");
  }
  if (!global_state_.run_state()) return {};
  const std::string& state = *global_state_.run_state();
  if (is_paused(state)) {
    // Somebody else was faster: who comes after a dead engine must not take it for this engine's stop.
    return paused_.exchange(true) ? Status{} : record_.guest_stands({});
  }
  if (!paused_ && state == "running") return {};
  const auto halt = halt_of(state);
  return fail(ErrorKind::kRefused, halt ? halt->what : "somebody has let the guest run while it was moved paused");
}

/// QEMU stops a guest by what it measured before. One that repaints all of its video memory in that moment would be
/// paused for as long as the link takes for it.
Status StreamIntake::check_own_ram(std::size_t more) {
  own_in_pause_ += more;
  const std::uint64_t fits = observer_.fits_into_pause();
  if (own_in_pause_ <= fits) return {};
  return fail(ErrorKind::kTimedOut,
              fmt::format("the guest wrote more video memory just before it was stopped than the link takes within "
                          "--max-downtime: more than {}",
                          format_size(fits)));
}

Status StreamIntake::ram_ends() {
  stopped_ = true;
  seen_paused_at_ = clock_.now();
  widen(socket_.theirs);
  // Before anybody acts on it: an engine that dies from here on leaves a guest that can be known to be its own.
  TRY(mark_stop());
  return observer_.guest_stopped(seen_paused_at_);
}

Status StreamIntake::mark_stop() {
  const PageRecords records = filter_->page_records();
  marked_all_ = records.all;
  if (paused_) return record_.guest_stands({});  // by somebody else
  return record_.guest_stands(mark_of(SeenStop{.asked = ordered_.asked,
                                               .answered = ordered_.answered,
                                               .stopped = watch_->look().stopped,
                                               .seen_paused = seen_paused_at_,
                                               .pages = records.pages,
                                               .zeros = records.zeros,
                                               .all_pages = records.all}));
}

/// The sink is loading devices meanwhile: nobody waits for this. QEMU 7.2 says "completed" before it has counted; when
/// it says "postmigrate" it has.
void StreamIntake::mark_end() {
  std::string status = "finish-migrate";
  for (unsigned tries = 0; status == "finish-migrate"; ++tries) {
    if (ending_ || tries == kTriesForTheEnd) return;
    if (tries > 0) std::this_thread::sleep_for(kPauseBeforeATry);
    const auto state = qmp_->execute("query-status");
    if (!state) return;
    status = text_at(*state, "status");
  }
  if (status != "postmigrate") return;
  const auto numbers = qmp_->execute("query-migrate");
  if (!numbers || text_at(*numbers, "status") != "completed") return;
  // QEMU tells of a STOP before it answers; one that tells of none had no guest that ran: nobody lets it run then.
  (void)record_.guest_stands(watch_->look().stopped && !paused_ ? mark_of(*numbers) : std::string());
}

Status StreamIntake::feed(Bytes bytes) {
  TRY(filter_->feed(bytes));
  if (stopped_ && !marked_all_ && filter_->page_records().all) TRY(mark_stop());
  return {};
}

void StreamIntake::run() {
  Status status = read_stream();
  if (ending_) return;
  // The guest may have been paused, have shut down or crashed just before QEMU stopped it.
  if (status && !global_state_.run_state()) {
    status = fail(ErrorKind::kUnsupported,
                  "QEMU's stream does not tell in which state the guest was when it was stopped (machine types before "
                  "2.4 do not)");
  }
  complete_ = status.has_value();
  if (status) status = observer_.stream_ended(clock_.now(), filter_->dropped_bytes());
  if (status) {
    mark_end();
    return await_changes();
  }
  if (ending_) return;
  // At once, not when the caller rolls back: a guest that is paused is let run again by QEMU itself when its stream
  // breaks.
  ::shutdown(socket_.ours.get(), SHUT_RDWR);
  observer_.handover_failed(std::move(status).error());
}

/// QEMU has done its part, but until the caller commits or rolls back a change of the VM is a reason not to commit.
void StreamIntake::await_changes() {
  const auto seen = watch_->await([](const auto& s) { return s.interrupted || s.lost || !s.change.empty(); }, kForEver);
  if (ending_ || seen.change.empty()) return;
  observer_.handover_failed(changed_meanwhile({seen.change}));
}

/// Until everything that QEMU wrote has been passed on, and QEMU has said that this was all.
Status StreamIntake::read_stream() {
  std::vector<std::byte> buffer(kPiece);
  for (;;) {
    const bool ended = watch_->look().ended();  // before the read: then what it wrote is there to be read
    if (holds_back() && !ended) {
      TRY(wait_to_read());
      continue;
    }
    const ssize_t length = ::recv(socket_.ours.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (ending_) return fail(ErrorKind::kCancelled, "the hand-over was ended");
    if (const auto seen = watch_->look(); !seen.change.empty()) return fail(changed_meanwhile({seen.change}));
    if (length > 0) {
      TRY(feed(Bytes(buffer).first(static_cast<std::size_t>(length))));
    } else if (length == 0 || errno == ECONNRESET || ended) {
      return conclude();
    } else if (errno == EAGAIN) {
      std::array<pollfd, 2> wait{pollfd{socket_.ours.get(), POLLIN, 0}, pollfd{watch_->wake_descriptor(), POLLIN, 0}};
      if (watch_->look().lost) return fail(ErrorKind::kPeerLost, "QEMU has ended");
      ::poll(wait.data(), wait.size(), kLookAroundMs);
      tell_if_silent();
    } else if (errno != EINTR) {
      return fail_os("read QEMU's stream");
    }
  }
}

/// QEMU has sent what it may so far.
Status StreamIntake::wait_to_read() {
  std::array<pollfd, 2> wait{pollfd{allowed_more_.descriptor(), POLLIN, 0},
                             pollfd{watch_->wake_descriptor(), POLLIN, 0}};
  ::poll(wait.data(), wait.size(), kLookAroundMs);
  allowed_more_.drain();
  const auto seen = watch_->look();
  if (ending_) return fail(ErrorKind::kCancelled, "the hand-over was ended");
  if (!seen.change.empty()) return fail(changed_meanwhile({seen.change}));
  if (seen.lost) return fail(ErrorKind::kPeerLost, "QEMU has ended");
  return {};
}

Status StreamIntake::conclude() {
  const auto seen = watch_->await([](const auto& s) { return s.ended() || s.lost || s.interrupted; }, kEndPatience);
  if (seen.interrupted) return fail(ErrorKind::kCancelled, "the hand-over was ended");
  if (seen.status == "completed") return filter_->finish();
  if (seen.lost) return fail(ErrorKind::kPeerLost, "QEMU has ended");
  if (!seen.ended()) return fail(ErrorKind::kTimedOut, "QEMU's stream ended, but its migration did not");
  const auto state = qmp_->execute("query-migrate");  // it is over: QEMU waits for nobody
  const std::string reason = state ? text_at(*state, "error-desc") : std::string();
  return fail(ErrorKind::kHypervisor,
              fmt::format("QEMU's migration ended as '{}'{}{}", seen.status, reason.empty() ? "" : ": ", reason));
}

/// From the reader's thread. QEMU 10 waits for a disk that hangs before it says that the guest has been stopped: all
/// that can be noticed is that it does not answer any more.
void StreamIntake::tell_if_silent() {
  if (told_silent_ || stopped_) return;
  const Instant since = ordered_.silent_since();
  if (since == Instant{}) return;
  const Instant at = clock_.now();
  if (guest_has_run()) ran_at_ = at;
  if (at - std::max(since, ran_at_) < kSilence) return;
  told_silent_ = true;
  observer_.guest_stopping(since);
}

/// Since the last look. A QEMU that turns KVM's dirty log on is silent for seconds on a host that is busy, and its
/// guest runs on.
bool StreamIntake::guest_has_run() {
  if (!ordered_.vcpus_ran) return false;
  const std::uint64_t now = ordered_.vcpus_ran();
  return now > std::exchange(ran_, now) + kHardlyRunNs;
}

}  // namespace godwit::qemu
