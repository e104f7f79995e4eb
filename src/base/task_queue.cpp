#include "base/task_queue.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <utility>

namespace godwit {

struct TaskQueue::State {
  explicit State(std::size_t limit) : most(limit) {}
  const std::size_t most;
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::function<void()>> tasks;
  std::uint64_t dropped = 0;
  bool busy = false;
  bool ends = false;
  bool idle() const { return tasks.empty() && !busy; }
};

TaskQueue::TaskQueue(std::size_t most)
    : state_(std::make_shared<State>(most)), thread_([state = state_] { run(*state); }) {}

TaskQueue::~TaskQueue() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->ends = true;
  }
  state_->changed.notify_all();
  if (thread_.joinable()) thread_.join();
}

void TaskQueue::run(State& state) {
  std::unique_lock lock(state.mutex);
  while (true) {
    state.changed.wait(lock, [&] { return state.ends || !state.tasks.empty(); });
    if (state.tasks.empty()) return;
    {
      const auto task = std::move(state.tasks.front());
      state.tasks.pop_front();
      state.busy = true;
      lock.unlock();
      task();
    }
    lock.lock();
    state.busy = false;
    state.changed.notify_all();
  }
}

bool TaskQueue::add(std::function<void()> task) {
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->ends || state_->tasks.size() >= state_->most) {
      ++state_->dropped;
      return false;
    }
    state_->tasks.push_back(std::move(task));
  }
  state_->changed.notify_all();
  return true;
}

std::uint64_t TaskQueue::take_dropped() {
  const std::lock_guard lock(state_->mutex);
  return std::exchange(state_->dropped, 0);
}

bool TaskQueue::await_idle(Duration limit) {
  std::unique_lock lock(state_->mutex);
  return state_->changed.wait_for(lock, limit, [&] { return state_->idle(); });
}

void TaskQueue::leave(Duration limit) {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(state_->mutex);
    state_->ends = true;
  }
  state_->changed.notify_all();
  if (await_idle(limit)) {
    thread_.join();
  } else {
    thread_.detach();
  }
}

}  // namespace godwit
