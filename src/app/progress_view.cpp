#include "app/progress_view.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>

#include "app/printable.h"
#include "app/progress_text.h"
#include "app/say.h"

namespace godwit {

namespace {

using namespace std::chrono_literals;

// Often enough to see that it is alive, rarely enough for a log.
constexpr Duration kBetweenLines = 5s;
// A sentence that is said again for those who come later, or because its numbers change.
constexpr Duration kBetweenTroubles = 60s;
// What a terminal without a size (a serial line) has as a rule.
constexpr unsigned kUsualColumns = 80;

// Has no state: the clock of every view that was not given one.
const SteadyClock kSteadyClock;

constexpr std::string_view kClearLine = "\r\x1b[K";

unsigned terminal_columns() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return kUsualColumns;
  return size.ws_col;
}

}  // namespace

ViewOutputs process_outputs() {
  return {[](std::string_view text) { say(stdout, text); }, [](std::string_view text) { say(stderr, text); },
          ::isatty(STDERR_FILENO) == 1, terminal_columns};
}

ProgressView::ProgressView(ProgressMode mode) : ProgressView(mode, process_outputs(), kSteadyClock) {}

ProgressView::ProgressView(ProgressMode mode, ViewOutputs outputs, const Clock& clock)
    : outputs_(std::move(outputs)), clock_(clock) {
  switch (mode) {
    case ProgressMode::kAuto:
      style_ = outputs_.stderr_is_terminal ? Style::kBar : Style::kLines;
      break;
    case ProgressMode::kBar:
      style_ = Style::kBar;
      break;
    case ProgressMode::kJson:
      style_ = Style::kJson;
      break;
    case ProgressMode::kNone:
      style_ = Style::kNone;
      break;
  }
}

ProgressView::~ProgressView() {
  finish();
}

void ProgressView::draw() {
  // The last column stays free: a terminal wraps when it is written.
  const unsigned columns = std::max(outputs_.columns(), 2U) - 1;
  outputs_.to_stderr(std::string(kClearLine) + progress_bar(*last_, columns));
  bar_stands_ = true;
}

void ProgressView::show(const Progress& progress) {
  const std::lock_guard lock(mutex_);
  if (style_ == Style::kNone) return;
  const bool new_phase = !last_ || last_->phase != progress.phase;
  if (std::isfinite(progress.fraction)) furthest_ = std::clamp(progress.fraction, furthest_, 1.0);
  last_ = progress;
  last_->fraction = furthest_;
  say_trouble();
  if (style_ == Style::kBar) {
    draw();
  } else if (style_ == Style::kJson) {
    outputs_.to_stdout(progress_json(*last_) + "\n");
  } else if (new_phase || clock_.now() - line_written_at_ >= kBetweenLines) {
    line_written_at_ = clock_.now();
    outputs_.to_stderr(progress_line(*last_) + "\n");
  }
}

/// In full when it begins, and now and then while it lasts. Programs read it in each of their lines.
void ProgressView::say_trouble() {
  if (last_->trouble.empty() || style_ == Style::kJson) return;
  if (trouble_said_at_ && clock_.now() - *trouble_said_at_ < kBetweenTroubles) return;
  trouble_said_at_ = clock_.now();
  write_note("godwit: " + last_->trouble);
}

void ProgressView::note(std::string_view line) {
  const std::lock_guard lock(mutex_);
  write_note(line);
}

void ProgressView::write_note(std::string_view line) {
  if (bar_stands_) outputs_.to_stderr(kClearLine);
  outputs_.to_stderr(printable(line) + "\n");
  if (bar_stands_) draw();
}

void ProgressView::finish() {
  const std::lock_guard lock(mutex_);
  if (!bar_stands_) return;
  bar_stands_ = false;
  outputs_.to_stderr("\n");
}

OnProgress ProgressView::on_progress() {
  return [this](const Progress& progress) { show(progress); };
}

}  // namespace godwit
