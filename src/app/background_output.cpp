#include "app/background_output.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "app/printable.h"

namespace godwit {

namespace {

// A line has a few hundred bytes, a VM that has come some twenty lines: a day of them, less than a MiB.
constexpr std::size_t kMostWaiting = 1000;

/// Not by stdio, whose lock a write that blocks would keep, also from the end of the process.
void write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(descriptor, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace

BackgroundOutput::BackgroundOutput(int descriptor) : descriptor_(descriptor), tasks_(kMostWaiting) {}

void BackgroundOutput::say(std::string text) {
  run([descriptor = descriptor_, text = std::move(text)] { write_all(descriptor, text); });
}

void BackgroundOutput::note(std::string_view text) {
  say(fmt::format("godwit: {}\n", printable(text)));
}

void BackgroundOutput::run(std::function<void()> task) {
  if (!tasks_.add(std::move(task))) return;
  if (const auto lost = tasks_.take_dropped(); lost > 0) {
    note(fmt::format("{} messages before this one were lost: nobody took them", lost));
  }
}

}  // namespace godwit
