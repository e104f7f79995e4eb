#include "remote/remote_receiver.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>

namespace godwit {

namespace {

// What shells exit with where they cannot start a command, and ssh where it has failed itself.
constexpr int kNotFoundThere = 127;
constexpr int kNotExecutableThere = 126;
constexpr int kSshFailed = 255;
// A Godwit's, for a command line that it does not know.
constexpr int kUsageThere = 2;

// For a child that was told to end.
constexpr Duration kShellGrace = std::chrono::seconds(3);
// For lines that somebody takes to be there before what is said at the end.
constexpr Duration kLinesPatience = std::chrono::seconds(1);
// After standard output has ended, until the remote shell has, too: then its exit code says why.
constexpr Duration kEndGrace = std::chrono::seconds(5);

std::string without_full_stop(std::string text) {
  while (!text.empty() && (text.back() == '.' || text.back() == '\r' || text.back() == ' ')) text.pop_back();
  return text;
}

int milliseconds_of(Duration duration) {
  return static_cast<int>(
      std::max<std::int64_t>(0, std::chrono::duration_cast<std::chrono::milliseconds>(duration).count()));
}

}  // namespace

Result<std::unique_ptr<RemoteReceiver>> RemoteReceiver::start(RemoteReceiverOptions options) {
  auto shell = TRY(RemoteShell::start(options.command));
  auto receiver = std::unique_ptr<RemoteReceiver>(new RemoteReceiver(std::move(options), std::move(shell)));
  if (!receiver->wake_) return fail_os("eventfd");
  receiver->thread_ = std::thread([&r = *receiver] { r.run(); });
  return receiver;
}

RemoteReceiver::~RemoteReceiver() {
  if (!thread_.joinable()) return;
  (void)finish(Duration{});
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.wake();
  thread_.join();
}

void RemoteReceiver::run() {
  Instant next_sign = std::chrono::steady_clock::now() + options_.limits.sign_of_life;
  while (look(next_sign - std::chrono::steady_clock::now())) {
    if (std::chrono::steady_clock::now() < next_sign) continue;
    give_sign_of_life();
    next_sign = std::chrono::steady_clock::now() + options_.limits.sign_of_life;
  }
}

/// Waits for whatever comes next; false when nothing can come any more.
bool RemoteReceiver::look(Duration most) {
  // A descriptor of -1 is passed over.
  std::array<pollfd, 4> look_at{{{shell_.output().get(), POLLIN, 0},
                                 {shell_.errors().get(), POLLIN, 0},
                                 {shell_.ended_descriptor(), POLLIN, 0},
                                 {wake_.descriptor(), POLLIN, 0}}};
  if (::poll(look_at.data(), look_at.size(), milliseconds_of(most)) < 0 && errno != EINTR) return false;
  // Before the pipes are read: what the child wrote before it ended is in them then. Others may hold them open for
  // long, such as an ssh that stays for further connections.
  const bool ended = (look_at[2].revents & POLLIN) != 0;
  if (!drain(shell_.output(), lines_, false)) {
    const std::lock_guard lock(mutex_);
    output_ended_ = true;
    changed_.notify_all();
  }
  (void)drain(shell_.errors(), error_lines_, true);
  if (ended) error_lines_.flush([&](std::string_view line) { take_line(line, true); });
  const std::lock_guard lock(mutex_);
  if (ended && !ended_) {
    ended_ = shell_.take_end();
    changed_.notify_all();
  }
  return !ended_ && !stop_;
}

/// What is there now; false, and closed, at its end.
bool RemoteReceiver::drain(UniqueFd& from, LineBuffer& lines, bool errors) {
  const auto take = [&](std::string_view line) { take_line(line, errors); };
  std::array<char, 4096> bytes;
  // Not for ever, for a far side that does not end to talk must not keep this one from its other work.
  for (int i = 0; i < 64 && from; ++i) {
    const ssize_t got = ::read(from.get(), bytes.data(), bytes.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return true;
    if (got <= 0) {
      lines.flush(take);
      from.reset();
      break;
    }
    lines.add(std::string_view(bytes.data(), static_cast<std::size_t>(got)), take);
  }
  return static_cast<bool>(from);
}

void RemoteReceiver::tell_line(std::string_view line) {
  if (!options_.on_line) return;
  if (!telling_.add([this, text = std::string(line)] { options_.on_line(text); })) return;
  if (const auto lost = telling_.take_dropped(); lost > 0) {
    telling_.add([this, lost] { options_.on_line(fmt::format("({} lines before this one were lost)", lost)); });
  }
}

void RemoteReceiver::take_line(std::string_view line, bool errors) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (line.find_first_not_of(' ') == std::string_view::npos) return;
  if (errors) {
    {
      const std::lock_guard lock(mutex_);
      last_error_ = line;
    }
    return tell_line(line);
  }
  auto message = message_of(line);
  const std::lock_guard lock(mutex_);
  if (!message) {
    last_noise_ = line;
    return;
  }
  // The first of each kind counts, and only after a hello: what a shell's greeting may hold is not from a Godwit.
  if (auto* hello = std::get_if<RemoteHello>(&*message); hello != nullptr && !hello_) hello_ = std::move(*hello);
  if (!hello_) return;
  if (auto* at = std::get_if<RemoteListening>(&*message); at != nullptr && !listening_) listening_ = std::move(*at);
  if (auto* report = std::get_if<RemoteReport>(&*message); report != nullptr && !report_) report_ = std::move(*report);
  changed_.notify_all();
}

void RemoteReceiver::give_sign_of_life() {
  const std::lock_guard lock(mutex_);
  if (!key_sent_ || !shell_.input()) return;
  // Where the pipe is full nobody reads, and one more would tell them nothing new.
  (void)!::write(shell_.input().get(), "\n", 1);
}

/// Where nobody takes it the far side has ended, or will not answer: that is what is said then.
void RemoteReceiver::send_key(std::string_view key_line) {
  // At once, and not copied.
  constexpr std::string_view kEnd = "\n";
  const std::array<iovec, 2> line{
      {{const_cast<char*>(key_line.data()), key_line.size()}, {const_cast<char*>(kEnd.data()), kEnd.size()}}};
  const auto size = static_cast<ssize_t>(key_line.size() + kEnd.size());
  key_sent_ = ::writev(shell_.input().get(), line.data(), static_cast<int>(line.size())) == size;
}

Result<Address> RemoteReceiver::listening_at(std::string_view key_line, const std::stop_token& cancelled) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, cancelled, options_.limits.hello, [&] { return hello_ || over(); });
  if (cancelled.stop_requested()) return fail(ErrorKind::kCancelled, "cancelled by the operator");
  if (!hello_ && over()) return fail(why_it_ended(lock));
  if (!hello_) {
    return fail(ErrorKind::kTimedOut,
                fmt::format("{} has not started `godwit receive` within {} s{}", options_.host,
                            std::chrono::duration_cast<std::chrono::seconds>(options_.limits.hello).count(),
                            last_words().empty() ? "" : "; it said: " + last_words()));
  }
  if (hello_->version != kOverSshVersion) {
    return fail(ErrorKind::kRefused,
                fmt::format("{} on {} starts `receive` in another way than {} here: install the same version on both",
                            hello_->program, options_.host, options_.program));
  }
  send_key(key_line);
  changed_.wait_for(lock, cancelled, options_.limits.listening, [&] { return listening_ || report_ || over(); });
  if (cancelled.stop_requested()) return fail(ErrorKind::kCancelled, "cancelled by the operator");
  if (report_ || (!listening_ && over())) return fail(why_it_ended(lock));
  if (!listening_) {
    return fail(ErrorKind::kTimedOut,
                fmt::format("`godwit receive` on {} was started, but does not say where it listens", options_.host));
  }
  return listening_->at;
}

std::string RemoteReceiver::last_words() const {
  return without_full_stop(last_error_.empty() ? last_noise_ : last_error_);
}

Error RemoteReceiver::why_it_ended(std::unique_lock<std::mutex>& lock) const {
  if (report_) {
    return {ErrorKind::kRefused,
            fmt::format("{}: {}", options_.host, report_->error.empty() ? "it ended" : report_->error)};
  }
  // Its exit code, which tells more, comes after the end of its output.
  changed_.wait_for(lock, kEndGrace, [&] { return ended_.has_value(); });
  const std::string last = last_words().empty() ? std::string("it said nothing") : last_words();
  if (!hello_) return why_no_hello(last);
  if (ended_ && ended_->code == kSshFailed) {
    return {ErrorKind::kRefused,
            fmt::format("the connection of {} to {} has broken: {}", options_.command.front(), options_.host, last)};
  }
  return {ErrorKind::kRefused, fmt::format("`godwit receive` on {} has ended: {}", options_.host, last)};
}

Error RemoteReceiver::why_no_hello(const std::string& last) const {
  const std::string& shell = options_.command.front();
  const std::string& host = options_.host;
  const auto said = [](std::string text) { return Error{ErrorKind::kRefused, std::move(text)}; };
  if (!ended_ || !ended_->known())
    return said(fmt::format("{} started no `godwit receive` on {}: {}", shell, host, last));
  if (ended_->signal != 0) return said(fmt::format("{} to {} was ended by signal {}", shell, host, ended_->signal));
  switch (ended_->code) {
    case kSshFailed:
      return said(fmt::format("{} to {} failed: {}", shell, host, last));
    case kNotFoundThere:
      return said(
          fmt::format("{} was not found on {}: install godwit there, or say by --remote-godwit where it is ({})",
                      options_.remote_godwit, host, last));
    case kNotExecutableThere:
      return said(fmt::format("{} on {} cannot be executed: {}", options_.remote_godwit, host, last));
    case kUsageThere:
      return said(
          fmt::format("{} on {} does not know `receive --over-ssh`: install {} there, which is the version here ({})",
                      options_.remote_godwit, host, options_.program, last));
    default:
      return said(fmt::format("{} to {} ended with exit code {} and without starting `godwit receive`: {}", shell, host,
                              ended_->code, last));
  }
}

bool RemoteReceiver::has_ended() const {
  const std::lock_guard lock(mutex_);
  return over();
}

RemoteEnd RemoteReceiver::finish(Duration patience) {
  std::unique_lock lock(mutex_);
  shell_.input().reset();
  const auto ended = [&] { return ended_.has_value(); };
  const bool in_time = changed_.wait_for(lock, patience, [&] { return ended() || report_; });
  // The report is the last that it says: what is left then is its exit, and the remote shell's.
  if (report_) changed_.wait_for(lock, kShellGrace, ended);
  for (const int number : {SIGTERM, SIGKILL}) {
    if (ended_) break;
    shell_.signal(number);
    changed_.wait_for(lock, kShellGrace, ended);
  }
  RemoteEnd end{.report = report_, .shell = ended_, .in_time = in_time};
  lock.unlock();
  telling_.await_idle(kLinesPatience);
  return end;
}

}  // namespace godwit
