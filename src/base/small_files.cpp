#include "base/small_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <filesystem>

#include "base/unique_fd.h"

namespace godwit {

namespace {

constexpr std::string_view kSpace = " \t\n";
// /proc/cpuinfo of the largest hosts is larger, but its first CPU, which is what is asked for, is at the start.
constexpr std::size_t kMostText = std::size_t{1} << 20U;
constexpr std::size_t kMostStat = 4096;  // of /proc/PID/stat
// A list longer than this is not a list of CPUs or nodes.
constexpr unsigned kLargestNumber = 65535;

std::string_view trimmed(std::string_view text) noexcept {
  const auto begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

std::optional<unsigned> number_in(std::string_view text) noexcept {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value > kLargestNumber) return std::nullopt;
  return value;
}

}  // namespace

Result<std::string> read_whole_file(const std::string& path, std::size_t limit) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return fail_os("open " + path);
  std::string text;
  char piece[16384];
  while (true) {
    const ssize_t got = ::read(file.get(), piece, sizeof piece);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_os("read " + path);
    if (got == 0) return text;
    if (text.size() + static_cast<std::size_t>(got) > limit) {
      return fail(ErrorKind::kUnsupported, fmt::format("{} is longer than {} bytes", path, limit));
    }
    text.append(piece, static_cast<std::size_t>(got));
  }
}

std::optional<std::string> read_small_file(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return std::nullopt;
  std::string text;
  std::array<char, 4096> piece;
  while (text.size() < kMostText) {
    const ssize_t got = ::read(fd.get(), piece.data(), piece.size());
    if (got < 0) return std::nullopt;
    if (got == 0) break;
    text.append(piece.data(), static_cast<std::size_t>(got));
  }
  text.erase(text.find_last_not_of(kSpace) + 1);
  return text;
}

std::optional<std::uint64_t> read_number(const std::string& path) {
  const auto text = read_small_file(path);
  if (!text) return std::nullopt;
  std::string_view digits = *text;
  const bool hexadecimal = digits.starts_with("0x");
  if (hexadecimal) digits.remove_prefix(2);
  std::uint64_t value = 0;
  const char* const last = digits.data() + digits.size();
  const auto [end, error] = std::from_chars(digits.data(), last, value, hexadecimal ? 16 : 10);
  if (error != std::errc() || end != last) return std::nullopt;
  return value;
}

Result<std::uint64_t> read_start_time(pid_t pid) {
  const std::string path = fmt::format("/proc/{}/stat", pid);
  const std::string text = TRY(read_whole_file(path, kMostStat));
  // The name, field 2, is in brackets and may hold anything, brackets and spaces too: count from the last one.
  const auto name_end = text.rfind(')');
  std::string_view rest = name_end == std::string::npos ? std::string_view{} : std::string_view(text).substr(name_end);
  constexpr int kSpacesToField22 = 20;
  for (int i = 0; i < kSpacesToField22; ++i) {
    const auto space = rest.find(' ');
    if (space == std::string_view::npos) return fail(ErrorKind::kProtocol, path + ": too few fields");
    rest.remove_prefix(space + 1);
  }
  std::uint64_t start_time = 0;
  const auto parsed = std::from_chars(rest.data(), rest.data() + rest.size(), start_time);
  if (parsed.ec != std::errc{}) return fail(ErrorKind::kProtocol, path + ": field 22 is not a number");
  return start_time;
}

std::string boot_id() {
  return read_small_file("/proc/sys/kernel/random/boot_id").value_or("");
}

std::optional<std::string> value_of_line(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const auto colon = line.find(':');
    if (colon != std::string_view::npos && trimmed(line.substr(0, colon)) == key) {
      return std::string(trimmed(line.substr(colon + 1)));
    }
  }
  return std::nullopt;
}

unsigned count_of_list(std::string_view list) noexcept {
  unsigned count = 0;
  while (!list.empty()) {
    const auto comma = std::min(list.find(','), list.size());
    const std::string_view part = list.substr(0, comma);
    list.remove_prefix(std::min(comma + 1, list.size()));
    const auto dash = std::min(part.find('-'), part.size());
    const auto first = number_in(part.substr(0, dash));
    const auto last = dash < part.size() ? number_in(part.substr(dash + 1)) : first;
    if (!first || !last || *last < *first) return 0;
    count += *last - *first + 1;
  }
  return count;
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  std::filesystem::directory_iterator at(folder, error);
  for (; !error && at != std::filesystem::directory_iterator(); at.increment(error)) {
    names.push_back(at->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace godwit
