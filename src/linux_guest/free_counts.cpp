#include "linux_guest/free_counts.h"

#include <array>
#include <cstring>
#include <vector>

namespace godwit::linux_guest {
namespace {

constexpr std::uint32_t kMaxZones = 8;                        // there are at most 6 kinds
constexpr std::uint64_t kMaxBlocks = std::uint64_t{1} << 40;  // 4 PiB in single pages

std::optional<std::uint64_t> count_zone(const Vmcoreinfo& info, std::uint64_t zone, GuestPageTable& table) {
  std::vector<std::byte> areas(info.page.orders * info.zones.area_size);  // both limited when parsed: 92 KiB
  if (!table.read(zone + info.zones.areas, areas)) return std::nullopt;
  std::uint64_t pages = 0;
  for (unsigned order = 0; order < info.page.orders; ++order) {
    std::uint64_t blocks = 0;
    std::memcpy(&blocks, areas.data() + order * info.zones.area_size + info.zones.free_blocks, sizeof(blocks));
    if (blocks > kMaxBlocks >> order) return std::nullopt;
    pages += blocks << order;
  }
  return pages;
}

std::optional<std::uint64_t> count_node(const Vmcoreinfo& info, std::uint64_t node, GuestPageTable& table) {
  const auto zones = table.read_number<std::uint32_t>(node + info.zones.zone_count);
  if (!zones || *zones > kMaxZones) return std::nullopt;
  std::uint64_t pages = 0;
  for (std::uint32_t zone = 0; zone < *zones; ++zone) {
    const auto here = count_zone(info, node + info.zones.zones + zone * info.zones.zone_size, table);
    if (!here) return std::nullopt;
    pages += *here;
  }
  return pages;
}

}  // namespace

std::optional<std::uint64_t> count_free(const Vmcoreinfo& info, GuestPageTable& table) {
  if (info.zones.node_count == 0) return count_node(info, info.zones.nodes, table);
  std::vector<std::uint64_t> nodes(info.zones.node_count);
  if (!table.read(info.zones.nodes, std::as_writable_bytes(std::span(nodes)))) return std::nullopt;
  std::uint64_t pages = 0;
  for (const std::uint64_t node : nodes) {
    if (node == 0) continue;
    const auto here = count_node(info, node, table);
    if (!here) return std::nullopt;
    pages += *here;
  }
  return pages;
}

}  // namespace godwit::linux_guest
