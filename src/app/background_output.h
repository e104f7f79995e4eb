// Standard error for a service: a terminal or a pipe that takes nothing holds up nobody but a thread of its own.
#pragma once

#include <functional>
#include <string>

#include "base/task_queue.h"

namespace godwit {

/// Any thread; nobody waits.
class BackgroundOutput {
 public:
  /// Text goes to this descriptor, which outlives the process.
  explicit BackgroundOutput(int descriptor);
  /// Gives what is left two seconds to be taken.
  ~BackgroundOutput() { tasks_.leave(kLastWords); }

  /// All of `text`, in order. What does not find room in the queue is lost; how much that was is said when there is
  /// room again.
  void say(std::string text);
  /// A line as say_note() has it, from whomever.
  void note(std::string_view text);
  /// Something else that may block, such as writing a file on another host. It owns what it uses.
  void run(std::function<void()> task);

 private:
  static constexpr Duration kLastWords = std::chrono::seconds(2);
  const int descriptor_;
  TaskQueue tasks_;
};

}  // namespace godwit
