// Prints progress on a thread of its own: a terminal that is blocked (Ctrl-S, a full pipe) must not hold the engine
// up.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "app/progress_view.h"

namespace godwit {

class ProgressPrinter {
 public:
  explicit ProgressPrinter(ProgressView& view)
      : view_(view), thread_([this](const std::stop_token& stop) { run(stop); }) {}

  /// Never blocks. A phase that has just begun waits its turn; of the same phase only the latest is printed.
  void post(const Progress& progress) {
    {
      std::lock_guard lock(mutex_);
      if (waiting_.empty() || waiting_.back().phase != progress.phase) {
        waiting_.push_back(progress);
      } else {
        waiting_.back() = progress;
      }
    }
    changed_.notify_one();
  }

 private:
  void run(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (changed_.wait(lock, stop, [this] { return !waiting_.empty(); })) {
      const Progress next = waiting_.front();
      waiting_.pop_front();
      lock.unlock();
      view_.show(next);
      lock.lock();
    }
  }

  ProgressView& view_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<Progress> waiting_;
  std::jthread thread_;
};

}  // namespace godwit
