// What a thread of its own does for others, one thing after the other: for what may block and must hold up nobody.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <thread>

#include "base/clock.h"

namespace godwit {

/// Any thread.
class TaskQueue {
 public:
  /// Its thread runs from here on, so that no task has to start one (throws std::system_error where none can be).
  /// `most`: tasks that wait at the same time.
  explicit TaskQueue(std::size_t most);
  /// Returns when all tasks have been done, however long that takes.
  ~TaskQueue();
  TaskQueue(const TaskQueue&) = delete;
  TaskQueue& operator=(const TaskQueue&) = delete;

  /// Waits for nobody. False: too many wait, and this one is never done.
  bool add(std::function<void()> task);
  /// Tasks that were not taken since the last call.
  std::uint64_t take_dropped();
  /// Until no task waits or is being done. False: not within this time.
  bool await_idle(Duration limit);
  /// Takes no more tasks, and waits no longer than this for what it has: whatever blocks then is left to itself, so
  /// tasks must own what they use. The destructor does not wait then.
  void leave(Duration limit);

 private:
  struct State;
  static void run(State& state);
  std::shared_ptr<State> state_;  ///< the thread's, too
  std::thread thread_;
};

}  // namespace godwit
