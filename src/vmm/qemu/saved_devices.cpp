#include "vmm/qemu/saved_devices.h"

#include <algorithm>

#include "vmm/qemu/stream_format.h"

namespace godwit::qemu {
namespace {

constexpr std::size_t kHeader = 8;  // magic and version
constexpr std::size_t kEnd = 6;     // a section's footer and the end of the file

template <typename Integer>
void put(std::vector<std::byte>& out, Integer value) {
  for (int shift = (static_cast<int>(sizeof(Integer)) - 1) * 8; shift >= 0; shift -= 8) {
    out.push_back(static_cast<std::byte>(value >> shift));
  }
}

tl::unexpected<Error> strange(std::string_view what) {
  return fail(ErrorKind::kHypervisor, "what QEMU has saved of its devices is not understood: " + std::string(what));
}

}  // namespace

std::vector<std::byte> stream_beginning(std::string_view machine) {
  std::vector<std::byte> out;
  put(out, kStreamMagic);
  put(out, kStreamVersion);
  put(out, section::kConfiguration);
  put(out, static_cast<std::uint32_t>(machine.size()));
  for (const char c : machine) out.push_back(static_cast<std::byte>(c));
  return out;
}

Result<Bytes> saved_sections(Bytes file) {
  if (file.size() < kHeader + kEnd) return strange("it is too short");
  if (load_big_endian<std::uint32_t>(file) != kStreamMagic) return strange("it begins otherwise");
  if (const auto version = load_big_endian<std::uint32_t>(file.subspan(4)); version != kStreamVersion) {
    return strange("version " + std::to_string(version));
  }
  const Bytes sections = file.subspan(kHeader);
  if (sections.front() != std::byte{section::kFull}) return strange("no device comes first");
  const Bytes end = sections.last(kEnd);
  if (end.front() != std::byte{section::kFooter} || end.back() != std::byte{section::kEof}) {
    return strange("it is cut, or of a machine type before 2.4");
  }
  return sections;
}

std::optional<std::uint64_t> virtual_clock_in(Bytes file) {
  // The section "timer": its name, instance and version, then CPU ticks, eight bytes that mean nothing, the clock.
  constexpr std::string_view kName = "\x05timer";
  constexpr std::size_t kClock = kName.size() + 4 + 4 + 8 + 8;
  const Bytes name = bytes_of(kName);
  const auto at =
      static_cast<std::size_t>(std::search(file.begin(), file.end(), name.begin(), name.end()) - file.begin());
  if (file.size() < at + kClock + sizeof(std::uint64_t)) return std::nullopt;
  return load_big_endian<std::uint64_t>(file.subspan(at + kClock));
}

std::vector<std::byte> stream_end() {
  std::vector<std::byte> out;
  put(out, section::kDescription);
  put(out, std::uint32_t{0});
  return out;
}

}  // namespace godwit::qemu
