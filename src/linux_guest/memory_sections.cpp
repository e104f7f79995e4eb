#include "linux_guest/memory_sections.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace godwit::linux_guest {
namespace {

// Flags in section_mem_map, the same since 4.x; the address has at least these bits to spare for flags.
constexpr std::uint64_t kHasMemMap = 2;
constexpr std::uint64_t kOnline = 4;
constexpr std::uint64_t kFlagBits = 63;

// 512 TiB of sections of 128 MiB.
constexpr std::uint64_t kMaxSections = std::uint64_t{1} << 22;

}  // namespace

Result<MemorySections> read_sections(const Vmcoreinfo::Sections& info, GuestPageTable& table, std::uint64_t end_frame) {
  const std::uint64_t per_root = info.entries_per_root();
  const std::uint64_t count =
      std::min({(end_frame + info.pages() - 1) / info.pages(), info.root_count * per_root, kMaxSections});
  std::vector<std::uint64_t> roots((count + per_root - 1) / per_root);
  if (!table.read(info.roots, std::as_writable_bytes(std::span(roots)))) {
    return fail(ErrorKind::kUnsupported, "the guest's table of memory sections cannot be read");
  }
  MemorySections sections;
  sections.mem_maps.resize(count);
  std::array<std::byte, 4096> entries;
  for (std::uint64_t root = 0; root < roots.size(); ++root) {
    if (roots[root] == 0) continue;
    const std::uint64_t first = root * per_root;
    const std::uint64_t here = std::min(per_root, count - first);
    if (!table.read(roots[root], std::span(entries).first(here * info.entry_size))) {
      return fail(ErrorKind::kUnsupported, "the guest's memory sections cannot be read");
    }
    for (std::uint64_t i = 0; i < here; ++i) {
      std::uint64_t mem_map = 0;
      std::memcpy(&mem_map, entries.data() + i * info.entry_size + info.mem_map, sizeof(mem_map));
      const bool usable = (mem_map & kHasMemMap) != 0 && (mem_map & kOnline) != 0;
      sections.mem_maps[first + i] = usable ? mem_map & ~kFlagBits : 0;
    }
  }
  return sections;
}

}  // namespace godwit::linux_guest
