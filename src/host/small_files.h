// Reads the one-value files of /proc and /sys. What cannot be read counts as absent.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace godwit {

/// The file's text without space at its end; at most 1 MiB of it.
std::optional<std::string> read_small_file(const std::string& path);
/// A file that holds one number, decimal or 0x hexadecimal.
std::optional<std::uint64_t> read_number(const std::string& path);
/// The text behind "key" and its separator in lines of "key : value" or "key: value".
std::optional<std::string> value_of_line(std::string_view text, std::string_view key);
/// How many numbers a kernel list names: "0-3,8" is 5. 0 if it is no list.
unsigned count_of_list(std::string_view list) noexcept;
/// Names in a folder, sorted; none if it is not there.
std::vector<std::string> names_in(const std::string& folder);

}  // namespace godwit
