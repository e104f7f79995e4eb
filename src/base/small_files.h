// Reads files of /proc and /sys, which tell no size: whole, by line, or as one value.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace godwit {

/// The whole file, or an error if it holds more than `limit` bytes.
Result<std::string> read_whole_file(const std::string& path, std::size_t limit);

/// Field 22 of /proc/PID/stat: when the process began, in clock ticks since boot.
Result<std::uint64_t> read_start_time(pid_t pid);

// From here on, what cannot be read counts as absent.

/// The file's text without space at its end; at most 1 MiB of it.
std::optional<std::string> read_small_file(const std::string& path);
/// A file that holds one number, decimal or 0x hexadecimal.
std::optional<std::uint64_t> read_number(const std::string& path);
/// The text behind "key" and its separator in lines of "key : value" or "key: value".
std::optional<std::string> value_of_line(std::string_view text, std::string_view key);
/// The present boot of this host, a UUID: equal for all who run under one kernel.
std::string boot_id();
/// How many numbers a kernel list names: "0-3,8" is 5. 0 if it is not a list.
unsigned count_of_list(std::string_view list) noexcept;
/// Names in a folder, sorted; none if it is not there.
std::vector<std::string> names_in(const std::string& folder);

}  // namespace godwit
