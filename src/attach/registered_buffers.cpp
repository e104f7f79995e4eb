#include "attach/registered_buffers.h"

#include <fmt/format.h>
#include <unistd.h>

#include <charconv>
#include <thread>

#include "base/clock.h"
#include "base/small_files.h"

namespace godwit {
namespace {

// A kernel may print a line for each of 16384 buffers, each entry of a ring, each file.
constexpr std::size_t kMaxInfoBytes = std::size_t{64} << 20;
// The kernel only tries for the ring's lock; QEMU holds it for microseconds, though often.
constexpr int kMaxLooks = 2000;
constexpr Duration kBetweenLooks = std::chrono::microseconds(500);
constexpr RegisteredBuffer kAnywhere{0, ~std::uint64_t{0}};

bool is_ring(const std::string& path) {
  char target[64];
  const ssize_t length = ::readlink(path.c_str(), target, sizeof target);
  return length > 0 && std::string_view(target, static_cast<std::size_t>(length)) == "anon_inode:[io_uring]";
}

template <typename Number>
bool take(std::string_view& text, std::string_view before, int base, Number& number) {
  while (text.starts_with(' ') || text.starts_with('\t')) text.remove_prefix(1);
  if (!text.starts_with(before)) return false;
  text.remove_prefix(before.size());
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (problem != std::errc{}) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

std::string_view next_line(std::string_view& rest) {
  const auto end = std::min(rest.find('\n'), rest.size());
  const auto line = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return line;
}

Result<std::vector<RegisteredBuffer>> look_at_ring(const RemoteProcess& process, int number) {
  for (int i = 0; i < kMaxLooks; ++i) {
    if (i > 0) std::this_thread::sleep_for(kBetweenLooks);
    const auto text = read_whole_file(fmt::format("/proc/{}/fdinfo/{}", process.pid(), number), kMaxInfoBytes);
    if (!text && text.error().kind == ErrorKind::kNotFound) return std::vector<RegisteredBuffer>{};  // closed since
    if (!text) return fail(Error(text.error()));
    if (auto buffers = parse_registered_buffers(*text)) return *std::move(buffers);
  }
  return fail(ErrorKind::kTimedOut,
              fmt::format("whether process {} has registered buffers with io_uring cannot be told", process.pid()));
}

}  // namespace

std::optional<std::vector<RegisteredBuffer>> parse_registered_buffers(std::string_view text) {
  // "UserBufs:  2", "    0: 0x7f0000000000/1048576", "    1: <none>"
  std::vector<RegisteredBuffer> buffers;
  while (!text.empty()) {
    std::string_view line = next_line(text);
    std::uint64_t count = 0;
    if (!line.starts_with("UserBufs:")) continue;
    line.remove_prefix(std::string_view("UserBufs:").size());
    if (!take(line, "", 10, count)) return std::vector{kAnywhere};
    for (std::uint64_t i = 0; i < count; ++i) {
      line = next_line(text);
      std::uint64_t index = 0;
      RegisteredBuffer buffer;
      if (!take(line, "", 10, index) || index != i) {
        buffers.push_back(kAnywhere);
        break;
      }
      if (line.find("<none>") != std::string_view::npos) continue;
      const bool told = take(line, ": 0x", 16, buffer.address) && take(line, "/", 10, buffer.length);
      buffers.push_back(told && buffer.address != 0 ? buffer : kAnywhere);
    }
    return buffers;
  }
  return std::nullopt;
}

Result<std::vector<RegisteredBuffer>> find_registered_buffers(const RemoteProcess& process) {
  std::vector<RegisteredBuffer> all;
  for (const int number : TRY(process.descriptors())) {
    if (!is_ring(fmt::format("/proc/{}/fd/{}", process.pid(), number))) continue;
    const auto buffers = TRY(look_at_ring(process, number));
    all.insert(all.end(), buffers.begin(), buffers.end());
  }
  return all;
}

}  // namespace godwit
