#include "tracking/scan_crew.h"

#include <unistd.h>

#include <algorithm>

#include "base/cpu_account.h"
#include "base/units.h"

namespace godwit {
namespace {

// Below that waking threads up takes as long as what they save.
constexpr std::uint64_t kWorthAThread = kGiB;
// More would wait for memory, not for CPUs.
constexpr unsigned kMostThreads = 16;

// A part takes less.
constexpr Duration kLate = std::chrono::milliseconds(1);

/// The `number`th CPU of a set, round and round. Best effort.
void stay_on_one_cpu(const cpu_set_t& cpus, std::size_t number) noexcept {
  const int count = CPU_COUNT(&cpus);
  if (count == 0) return;
  int skip = static_cast<int>(number % static_cast<std::size_t>(count));
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &cpus) || skip-- > 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    (void)::sched_setaffinity(0, sizeof one, &one);
    return;
  }
}

}  // namespace

unsigned scan_threads(std::uint64_t bytes, unsigned cpus) noexcept {
  const auto worth = bytes / kWorthAThread;
  return static_cast<unsigned>(std::clamp<std::uint64_t>(std::min<std::uint64_t>(worth, cpus), 1, kMostThreads));
}

Result<std::unique_ptr<ScanCrew>> ScanCrew::open(const RemoteProcess& process, unsigned threads) {
  std::unique_ptr<ScanCrew> crew(new ScanCrew());
  const unsigned helpers = threads > 1 ? threads : 0;
  for (unsigned i = 0; i <= helpers; ++i) {
    crew->members_.push_back(std::make_unique<Member>(TRY(PageScanner::open(process))));
  }
  if (::sched_getaffinity(0, sizeof crew->cpus_, &crew->cpus_) != 0) CPU_ZERO(&crew->cpus_);
  for (std::size_t i = 1; i <= helpers; ++i) {
    crew->threads_.push_back(job_thread([&crew = *crew, i](const std::stop_token& stop) { crew.run(stop, i); }));
  }
  return crew;
}

ScanCrew::~ScanCrew() {
  threads_.clear();  // before what they use
}

Status ScanCrew::share(std::size_t parts, const Work& work) {
  work_ = &work;
  parts_ = parts;
  next_ = 0;
  for (auto& member : members_) member->status = {};
  {
    const std::lock_guard lock(mutex_);
    ++round_;
    open_ = true;
  }
  changed_.notify_all();
  do_parts(0);
  std::unique_lock lock(mutex_);
  open_ = false;
  // All parts are done or being done.
  while (!changed_.wait_for(lock, kLate, [this] { return at_work_ == 0; })) let_go_elsewhere();
  for (auto& member : members_) TRY(std::move(member->status));
  return {};
}

void ScanCrew::run(const std::stop_token& stop, std::size_t number) {
  Member& member = *members_[number];
  stay_on_one_cpu(cpus_, number - 1);
  std::unique_lock lock(mutex_);
  member.thread = ::gettid();
  for (std::uint64_t done = 0; changed_.wait(lock, stop, [&] { return round_ != done; });) {
    done = round_;
    if (!open_) continue;  // it has come too late
    ++at_work_;
    lock.unlock();
    do_parts(number);
    lock.lock();
    if (--at_work_ == 0) changed_.notify_all();
    // Not at the beginning of the next round: nobody might let it go again.
    if (std::exchange(member.astray, false)) stay_on_one_cpu(cpus_, number - 1);
  }
}

/// Somebody more important may have the CPU of a thread that has begun a part.
void ScanCrew::let_go_elsewhere() {
  for (const auto& member : members_) {
    if (member->thread == 0) continue;
    member->astray = true;
    (void)::sched_setaffinity(member->thread, sizeof cpus_, &cpus_);
  }
}

void ScanCrew::do_parts(std::size_t number) {
  Member& member = *members_[number];
  for (auto i = next_.fetch_add(1); i < parts_ && member.status; i = next_.fetch_add(1)) {
    member.status = (*work_)(number, member.scanner, i);
  }
}

}  // namespace godwit
