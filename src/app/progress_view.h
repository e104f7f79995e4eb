// Shows progress while a migration runs: a bar on a terminal, lines for a log, or JSON for a program.
//
//   coordinator --Progress--> ProgressView --bar, plain lines--> stderr
//                                          --JSON lines--------> stdout
#pragma once

#include <functional>
#include <mutex>
#include <optional>
#include <string_view>

#include "app/command_line.h"
#include "base/clock.h"
#include "engine/progress.h"

namespace godwit {

/// Where a view writes, and what it knows about the terminal. Tests give strings.
struct ViewOutputs {
  std::function<void(std::string_view)> to_stdout;
  std::function<void(std::string_view)> to_stderr;
  bool stderr_is_terminal = false;
  std::function<unsigned()> columns;  ///< of the terminal now: its window may be resized
};

/// This process's own stdout and stderr.
ViewOutputs process_outputs();

/// Any thread.
class ProgressView {
 public:
  /// On this process's outputs.
  explicit ProgressView(ProgressMode mode);
  ProgressView(ProgressMode mode, ViewOutputs outputs, const Clock& clock);
  /// Leaves the cursor at the start of an empty line.
  ~ProgressView();
  ProgressView(const ProgressView&) = delete;
  ProgressView& operator=(const ProgressView&) = delete;

  void show(const Progress& progress);
  /// A line for the operator on stderr, above the bar where there is one.
  void note(std::string_view line);
  /// No more progress comes: the last state stays as a line of its own. Also done by the destructor.
  void finish();
  /// For the engine: calls show(). This object must outlive it.
  OnProgress on_progress();

 private:
  enum class Style { kBar, kLines, kJson, kNone };
  void draw();
  void say_trouble();
  void write_note(std::string_view line);

  std::mutex mutex_;
  Style style_;
  ViewOutputs outputs_;
  const Clock& clock_;
  std::optional<Progress> last_;
  Instant line_written_at_{};
  std::optional<Instant> trouble_said_at_;
  double furthest_ = 0;
  bool bar_stands_ = false;
};

}  // namespace godwit
