// What is said to whoever started the program.
#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <string_view>

namespace godwit {

/// Writes all of `text`, or as much as can be written: a reader that went away, or a full disk, must not end a
/// migration, and least of all say with the exit code of a crash that a guest was not moved.
inline void say(std::FILE* file, std::string_view text) noexcept {
  (void)std::fwrite(text.data(), 1, text.size(), file);
  (void)std::fflush(file);
}

/// One line that does not belong to the result, on standard error.
inline void say_note(std::string_view text) {
  say(stderr, fmt::format("godwit: {}\n", text));
}

}  // namespace godwit
