#include "throttle/stop_and_go.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "base/small_files.h"
#include "base/unique_fd.h"

namespace godwit {
namespace {

using std::chrono::milliseconds;

// As the quotas'. A guest that is to run less than a millisecond at a time would only fault its caches in.
constexpr Duration kStopAndGoPeriod = milliseconds(20);
constexpr Duration kLeastRun = milliseconds(1);
constexpr Duration kLongestStop = milliseconds(100);
// A thread in an uninterruptible sleep does not stop, and is not to be waited for: it does not run either.
constexpr int kLooksAtStop = 50;
constexpr int kRoundsAtTheEnd = 600;
constexpr Duration kBetweenLooksAtStop = std::chrono::microseconds(100);
constexpr int kPtraceEventStop = 128;

std::string file_of(pid_t process, pid_t thread, const char* name) {
  return fmt::format("/proc/{}/task/{}/{}", process, thread, name);
}

long ptrace_of(pid_t thread, int request, std::uintptr_t data) {
  return ::ptrace(static_cast<__ptrace_request>(request), thread, nullptr, reinterpret_cast<void*>(data));
}

}  // namespace

std::string StopAndGo::why_not(pid_t process, const std::vector<pid_t>& threads) {
  // KERNEL: opening it asks for the same right as ptrace does, yama included.
  const UniqueFd memory(::open(fmt::format("/proc/{}/mem", process).c_str(), O_RDONLY | O_CLOEXEC));
  if (!memory)
    return fmt::format("process {} cannot be traced: {}", process, os_error("open its memory", errno).message);
  for (const pid_t thread : threads) {
    const auto status = read_small_file(file_of(process, thread, "status"));
    if (!status) return fmt::format("process {} has no thread {}", process, thread);
    const std::string tracer = value_of_line(*status, "TracerPid").value_or("0");
    if (tracer != "0") return fmt::format("process {} traces thread {}", tracer, thread);
  }
  return {};
}

StopAndGo::StopAndGo(pid_t process, std::vector<pid_t> threads) : process_(process), wanted_(std::move(threads)) {
  worker_ = std::thread([this] { run(); });
}

StopAndGo::~StopAndGo() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  changed_.notify_all();
  worker_.join();
}

Status StopAndGo::set(double share) {
  const std::lock_guard lock(mutex_);
  if (share_ != share) {
    share_ = share;
    changed_.notify_all();
  }
  return last_round_;
}

void StopAndGo::follow(std::vector<pid_t> threads) {
  const std::lock_guard lock(mutex_);
  wanted_ = std::move(threads);
}

void StopAndGo::run() {
  const SteadyClock clock;
  while (true) {
    double share = 1;
    {
      std::unique_lock lock(mutex_);
      const auto called = [this] { return ends_ || share_ < 1; };
      if (any_seized()) {
        changed_.wait_for(lock, kLeastRun, called);
      } else {
        changed_.wait(lock, called);
      }
      if (ends_) break;
      share = share_;
    }
    if (share >= 1) {  // one that did not stop in time has yet to be let go
      let_go();
      continue;
    }
    take_over_threads();
    const Instant goes = clock.now();
    const auto run_time = std::max(kLeastRun, std::chrono::duration_cast<Duration>(kStopAndGoPeriod * share));
    if (!wait_for(run_time)) continue;
    stop_threads(share);
    // As long as it ran in fact: this thread may have been late.
    const Duration ran = clock.now() - goes;
    const auto pause = std::chrono::duration_cast<Duration>(ran * (1 / share - 1));
    wait_for(std::min(pause, kLongestStop));
    let_go();
  }
  // What has not stopped yet is let go by the kernel when this thread ends.
  for (int rounds = 0; rounds < kRoundsAtTheEnd && any_seized(); ++rounds) let_go();
}

bool StopAndGo::any_seized() const {
  return std::any_of(threads_.begin(), threads_.end(), [](const Thread& thread) { return thread.seized; });
}

bool StopAndGo::wait_for(Duration time) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, time, [this] { return ends_ || share_ >= 1; });
  return !ends_ && share_ < 1;
}

void StopAndGo::take_over_threads() {
  const std::lock_guard lock(mutex_);
  if (!wanted_) return;
  std::vector<Thread> threads;
  for (const pid_t id : *wanted_) {
    const auto known = std::find_if(threads_.begin(), threads_.end(), [id](const Thread& t) { return t.id == id; });
    threads.push_back(known == threads_.end() ? Thread{.id = id} : *known);
  }
  for (const Thread& thread : threads_) {
    const bool kept = std::find(wanted_->begin(), wanted_->end(), thread.id) != wanted_->end();
    if (!kept && thread.seized) threads.push_back(thread);  // until it has been let go
  }
  threads_ = std::move(threads);
  wanted_.reset();
}

bool StopAndGo::needs_no_stop(Thread& thread, double share) const {
  const auto state = read_small_file(file_of(process_, thread.id, "stat")).value_or("");
  // Behind the name, which may hold anything.
  const auto name_end = state.rfind(')');
  const bool sleeps = name_end != std::string::npos && name_end + 2 < state.size() && state[name_end + 2] == 'S';
  const auto text = read_small_file(file_of(process_, thread.id, "schedstat")).value_or("");
  std::uint64_t ran = 0;
  std::from_chars(text.data(), text.data() + text.size(), ran);
  const Instant now = SteadyClock().now();
  bool little = false;
  if (thread.ran_before) {
    const auto used = static_cast<double>(ran - *thread.ran_before);
    const auto passed =
        static_cast<double>(std::chrono::duration_cast<std::chrono::nanoseconds>(now - thread.looked).count());
    little = used <= share * passed;
  }
  thread.ran_before = ran;
  thread.looked = now;
  return sleeps && little;
}

void StopAndGo::stop_one(Thread& thread) {
  if (ptrace_of(thread.id, PTRACE_SEIZE, 0) != 0) {
    if (errno == ESRCH) return;  // it has ended
    note(fail_os(fmt::format("trace thread {} of process {}", thread.id, process_)));
    return;
  }
  thread.seized = true;
  ptrace_of(thread.id, PTRACE_INTERRUPT, 0);
}

void StopAndGo::stop_threads(double share) {
  note({});
  for (Thread& thread : threads_) {
    if (!thread.seized && !needs_no_stop(thread, share)) stop_one(thread);
  }
}

bool StopAndGo::let_go_of(Thread& thread) const {
  // An exit is ours to take note of, too: until then the kernel keeps a traced thread that has ended, and with it the
  // process. Not the main thread's, which is for the parent.
  const int ends = thread.id == process_ ? 0 : WEXITED;
  siginfo_t info{};
  if (::waitid(P_PID, static_cast<id_t>(thread.id), &info, WSTOPPED | ends | WNOHANG | __WALL) != 0) {
    return errno != EINTR;
  }
  if (info.si_pid == 0) return false;
  if (info.si_code == CLD_EXITED || info.si_code == CLD_KILLED || info.si_code == CLD_DUMPED) return true;
  // It has stopped for us, with its process (which goes on to be stopped), or because a signal comes: that is its own.
  const int signal = info.si_status >> 8 == kPtraceEventStop ? 0 : info.si_status & 0x7f;
  return ptrace_of(thread.id, PTRACE_DETACH, static_cast<std::uintptr_t>(signal)) == 0;
}

void StopAndGo::let_go() {
  bool left = true;
  for (int looks = 0; left && looks < kLooksAtStop; ++looks) {
    if (looks > 0) std::this_thread::sleep_for(kBetweenLooksAtStop);
    left = false;
    for (Thread& thread : threads_) {
      if (thread.seized && let_go_of(thread)) thread.seized = false;
      left |= thread.seized;
    }
  }
}

void StopAndGo::note(Status status) {
  const std::lock_guard lock(mutex_);
  last_round_ = std::move(status);
}

}  // namespace godwit
