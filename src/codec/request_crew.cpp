#include "codec/request_crew.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "base/cpu_account.h"
#include "codec/answer_times.h"
#include "codec/codecs.h"

namespace godwit {

namespace {

// How long a thread that is inside a call has to come out of it when everything ends.
constexpr Duration kLastWait = std::chrono::seconds(1);
// Blocks of one lane that may be under way at once: enough for two lanes to keep a device of 12 GB/s and 100 us busy.
constexpr std::size_t kCrewDepth = 16;

}  // namespace

/// One lane's answers.
struct RequestCrew::Answers {
  std::mutex mutex;
  std::condition_variable_any changed;
  std::deque<DeviceDone> done;
};

/// Held by the lane's queue and by the line, or the thread that has it.
struct RequestCrew::Request {
  DeviceJob job;
  std::shared_ptr<Answers> answers;
  std::chrono::steady_clock::time_point since;
  /// Held while a lane's memory is read or written. Once it is not wanted any more, nobody touches that memory.
  std::mutex mutex;
  bool wanted = true;
  std::atomic<bool> over{false};  ///< its thread is done with it
};

/// What outlives the crew where a thread is stuck.
struct RequestCrew::Shared {
  Shared(Duration least, Duration longest) : times(least, longest) {}
  MakeWorker make;
  std::size_t most_waiting = 0;
  AnswerTimes times;
  std::shared_ptr<CpuAccount> account;

  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::shared_ptr<Request>> line;
  bool ends = false;
  std::atomic<bool> late{false};  ///< a thread has been stuck in a call
  bool broken = false;            ///< no thread asks the device for anything any more
  std::size_t running = 0;
};

class CrewQueue final : public DeviceQueue {
 public:
  explicit CrewQueue(std::shared_ptr<RequestCrew::Shared> shared)
      : shared_(std::move(shared)), answers_(std::make_shared<RequestCrew::Answers>()) {}
  ~CrewQueue() override {
    {
      const std::lock_guard lock(shared_->mutex);
      std::erase_if(shared_->line, [&](const auto& request) { return request->answers == answers_; });
    }
    for (const auto& request : under_way_) {
      const std::lock_guard lock(request->mutex);
      request->wanted = false;
    }
  }
  std::size_t depth() const noexcept override { return kCrewDepth; }

  Result<std::size_t> submit(std::span<const DeviceJob> jobs) override {
    std::size_t taken = 0;
    while (taken < jobs.size() && under_way_.size() < depth()) {
      auto request = std::make_shared<RequestCrew::Request>();
      request->job = jobs[taken];
      request->answers = answers_;
      request->since = std::chrono::steady_clock::now();
      {
        const std::lock_guard lock(shared_->mutex);
        if (shared_->running == 0 || shared_->broken) return fail(ErrorKind::kIo, "the device has been lost");
        if (shared_->line.size() >= shared_->most_waiting) break;
        shared_->line.push_back(request);
      }
      shared_->changed.notify_one();
      under_way_.push_back(std::move(request));
      ++taken;
    }
    return taken;
  }

  Result<std::size_t> poll(std::span<DeviceDone> done) override {
    const std::lock_guard lock(answers_->mutex);
    if (answers_->done.empty()) return overdue() ? late() : Result<std::size_t>(0);
    return take(done);
  }

  Result<std::size_t> collect_until(std::span<DeviceDone> done, std::stop_token stop, Instant until) override {
    if (done.empty() || under_way_.empty() || stop.stop_requested()) return std::size_t{0};
    std::unique_lock lock(answers_->mutex);
    until = std::min(until, deadline());
    answers_->changed.wait_until(lock, stop, until, [&] { return !answers_->done.empty(); });
    if (answers_->done.empty()) return overdue() ? late() : Result<std::size_t>(0);
    return take(done);
  }

  void forsake(std::uint64_t ticket, std::vector<std::byte>) override {
    const auto found =
        std::ranges::find_if(under_way_, [&](const auto& request) { return request->job.ticket == ticket; });
    if (found == under_way_.end()) return;
    const auto request = *found;
    under_way_.erase(found);
    std::size_t in_line = 0;
    {
      const std::lock_guard lock(shared_->mutex);
      in_line = std::erase(shared_->line, request);
    }
    {
      // From here on the thread that has it reads its own copy of the input only.
      const std::lock_guard lock(request->mutex);
      request->wanted = false;
    }
    const std::lock_guard lock(answers_->mutex);
    std::erase_if(answers_->done, [&](const DeviceDone& done) { return done.ticket == ticket; });
    if (in_line == 0) forsaken_.push_back(request);
  }

 private:
  /// Of the oldest that the device may still have.
  Instant deadline() {
    std::erase_if(forsaken_, [](const auto& request) { return request->over.load(std::memory_order_acquire); });
    const Duration patience = shared_->times.patience();
    Instant first = Instant::max();
    for (const auto* requests : {&under_way_, &forsaken_}) {
      if (!requests->empty()) first = std::min(first, requests->front()->since + patience);
    }
    return first;
  }
  bool overdue() { return std::chrono::steady_clock::now() >= deadline(); }
  Result<std::size_t> late() {
    shared_->late = true;
    return fail(ErrorKind::kTimedOut, "the device has not answered in time");
  }
  std::size_t take(std::span<DeviceDone> done) {
    const std::size_t n = std::min(done.size(), answers_->done.size());
    for (std::size_t i = 0; i < n; ++i) {
      done[i] = answers_->done.front();
      answers_->done.pop_front();
      std::erase_if(under_way_, [&](const auto& request) { return request->job.ticket == done[i].ticket; });
    }
    return n;
  }

  std::shared_ptr<RequestCrew::Shared> shared_;
  std::shared_ptr<RequestCrew::Answers> answers_;
  std::vector<std::shared_ptr<RequestCrew::Request>> under_way_;  ///< the oldest first
  std::vector<std::shared_ptr<RequestCrew::Request>> forsaken_;   ///< a thread may be stuck with them
};

RequestCrew::RequestCrew(unsigned threads, std::size_t line, const AcceleratorSetting& setting, MakeWorker make)
    : shared_(std::make_shared<Shared>(setting.least_patience, setting.patience)) {
  shared_->make = std::move(make);
  shared_->most_waiting = line;
  shared_->account = current_account();
  for (std::size_t i = 0; i < threads; ++i) {
    {
      const std::lock_guard lock(shared_->mutex);
      ++shared_->running;
    }
    try {
      threads_.emplace_back([shared = shared_, i] { run(shared, i); });
    } catch (const std::system_error&) {
      const std::lock_guard lock(shared_->mutex);
      --shared_->running;  // a limit of processes or memory: it goes on with those that there are
      break;
    }
  }
}

RequestCrew::~RequestCrew() {
  (void)end();
}

bool RequestCrew::end() {
  if (threads_.empty()) return true;
  std::unique_lock lock(shared_->mutex);
  shared_->ends = true;
  shared_->line.clear();
  shared_->changed.notify_all();
  // Of one that has been late before, nothing is to be expected.
  const Duration longest = shared_->late ? Duration{} : kLastWait;
  const bool all = shared_->changed.wait_for(lock, longest, [&] { return shared_->running == 0; });
  const bool whole = all && !shared_->broken;
  lock.unlock();
  for (auto& thread : threads_) all ? thread.join() : thread.detach();
  threads_.clear();
  return whole;
}

std::unique_ptr<DeviceQueue> RequestCrew::queue() {
  return std::make_unique<CrewQueue>(shared_);
}

void RequestCrew::run(const std::shared_ptr<Shared>& shared, std::size_t) {
  const ChargedTo charged(shared->account);
  auto worker = shared->make();
  const auto answer = [](Request& request, DeviceDone done) {
    request.over.store(true, std::memory_order_release);
    done.ticket = request.job.ticket;
    const std::lock_guard wanted(request.mutex);
    if (!request.wanted) return;
    const std::lock_guard lock(request.answers->mutex);
    request.answers->done.push_back(done);
    request.answers->changed.notify_all();
  };
  const auto carry_out = [&](Request& request) -> DeviceDone {
    const Duration began = thread_cpu_time();
    const std::size_t room = std::min(request.job.output.size(), (*worker)->output().size());
    const std::size_t length = request.job.input.size();
    {
      const std::lock_guard lock(request.mutex);
      if (!request.wanted || length > (*worker)->input().size()) return {.failed = true};
      std::memcpy((*worker)->input().data(), request.job.input.data(), length);
    }
    DeviceDone done = (*worker)->work(length, room, request.job.decodes);
    if (done.failed) return done;
    if (done.size > room) return {.failed = true, .broken = "it has written more than there was room for"};
    const std::lock_guard lock(request.mutex);
    if (!request.wanted) return {.failed = true};
    if (done.size > 0) std::memcpy(request.job.output.data(), (*worker)->output().data(), done.size);
    done.worked = thread_cpu_time() - began;
    shared->times.learn(std::chrono::steady_clock::now() - request.since);
    return done;
  };
  std::unique_lock lock(shared->mutex);
  while (worker) {
    shared->changed.wait(lock, [&] { return shared->ends || shared->broken || !shared->line.empty(); });
    if (shared->ends || shared->broken) break;
    const auto request = std::move(shared->line.front());
    shared->line.pop_front();
    lock.unlock();
    const DeviceDone done = carry_out(*request);
    lock.lock();
    if (!done.broken.empty()) {
      shared->broken = true;
      shared->changed.notify_all();
    }
    lock.unlock();
    answer(*request, done);
    lock.lock();
  }
  lock.unlock();
  if (worker) worker->reset();
  lock.lock();
  if (--shared->running == 0 && !shared->ends) {
    for (const auto& request : shared->line) answer(*request, {.failed = true});
    shared->line.clear();
  }
  shared->changed.notify_all();
}

}  // namespace godwit
