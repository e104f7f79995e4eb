#include "attach/proc_files.h"

#include <fmt/format.h>
#include <sys/sysmacros.h>

#include <charconv>

#include "base/small_files.h"

namespace godwit {
namespace {

// vm.max_map_count is 65530 by default and 1048576 on distributions that raise it; a line of RAM is below 128 bytes.
constexpr std::size_t kMaxMapsBytes = std::size_t{256} << 20;

/// Takes a number off the front of `text`; false if there is none.
template <typename Number>
bool take_number(std::string_view& text, int base, Number& number) {
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (problem != std::errc{}) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

bool take_char(std::string_view& text, char wanted) {
  if (text.empty() || text.front() != wanted) return false;
  text.remove_prefix(1);
  return true;
}

bool parse_into(std::string_view text, Mapping& mapping) {
  unsigned major_number = 0;
  unsigned minor_number = 0;
  if (!take_number(text, 16, mapping.start) || !take_char(text, '-') || !take_number(text, 16, mapping.end) ||
      !take_char(text, ' ') || text.size() < 5) {
    return false;
  }
  mapping.readable = text[0] == 'r';
  mapping.writable = text[1] == 'w';
  mapping.executable = text[2] == 'x';
  mapping.shared = text[3] == 's';
  text.remove_prefix(4);
  if (!take_char(text, ' ') || !take_number(text, 16, mapping.offset) || !take_char(text, ' ') ||
      !take_number(text, 16, major_number) || !take_char(text, ':') || !take_number(text, 16, minor_number) ||
      !take_char(text, ' ') || !take_number(text, 10, mapping.inode)) {
    return false;
  }
  mapping.device = makedev(major_number, minor_number);
  while (take_char(text, ' ')) {
  }
  mapping.path = text;
  return mapping.start < mapping.end;
}

}  // namespace

Result<Mapping> parse_mapping(std::string_view line) {
  Mapping mapping;
  if (!parse_into(line, mapping)) {
    return fail(ErrorKind::kProtocol, fmt::format("not a line of a memory map: '{}'", line.substr(0, 200)));
  }
  return mapping;
}

Result<std::vector<Mapping>> read_mappings(const std::string& path) {
  const std::string text = TRY(read_whole_file(path, kMaxMapsBytes));
  std::vector<Mapping> mappings;
  for (std::string_view rest = text; !rest.empty();) {
    const auto end = rest.find('\n');
    mappings.push_back(TRY_IN(path, parse_mapping(rest.substr(0, end))));
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  }
  return mappings;
}

std::string name_of_process(pid_t pid) {
  auto name = read_whole_file(fmt::format("/proc/{}/comm", pid), 4096);
  if (!name) return fmt::format("(pid {})", pid);
  while (!name->empty() && name->back() == '\n') name->pop_back();
  return fmt::format("{} (pid {})", *name, pid);
}

}  // namespace godwit
