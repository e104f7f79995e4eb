#include "vmm/qemu/ram_blocks.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "attach/remote_memory.h"
#include "base/limits.h"
#include "base/units.h"
#include "vmm/qemu/json_access.h"
#include "vmm/qemu/ram_block_list.h"

namespace godwit::qemu {
namespace {

// A guest in its firmware moves windows about while it is asked; it stops at once.
constexpr int kAttempts = 5;
// Backends and their pieces number dozens; the limits bound what a strange answer can make us do.
constexpr std::size_t kMostBackends = 4 * most::kRamBlocks;
constexpr std::size_t kMaxStretches = 65536;

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const auto end = std::min(text.find(separator), text.size());
    if (end > 0) parts.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

std::vector<std::string_view> lines_of(std::string_view text) {
  auto lines = split(text, '\n');
  for (auto& line : lines) {
    if (line.ends_with('\r')) line.remove_suffix(1);
  }
  return lines;
}

/// A whole text as a number, with or without 0x for base 16.
std::optional<std::uint64_t> parse_number(std::string_view text, int base) {
  if (base == 16 && text.starts_with("0x")) text.remove_prefix(2);
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{} || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

std::uint64_t unit_size(std::string_view unit) {
  if (unit == "B") return 1;
  if (unit == "KiB") return kKiB;
  if (unit == "MiB") return kMiB;
  if (unit == "GiB") return kGiB;
  return 0;
}

/// "  0000000000100000-00000000bfffffff (prio 0, ram): pc.ram @0000000000100000 KVM"
std::optional<PhysicalStretch> parse_stretch(std::string_view line) {
  const auto words = split(line, ' ');
  // address range, "(prio", "0,", "ram):", region, [@offset], [accelerator]
  if (words.size() < 5 || words[1] != "(prio" || words[3] != "ram):") return std::nullopt;
  const auto ends = split(words[0], '-');
  if (ends.size() != 2) return std::nullopt;
  const auto first = parse_number(ends[0], 16);
  const auto last = parse_number(ends[1], 16);
  if (!first || !last || *last < *first) return std::nullopt;
  PhysicalStretch stretch;
  stretch.address = *first;
  stretch.length = *last - *first + 1;
  stretch.block = words[4];
  if (words.size() > 5 && words[5].starts_with('@')) {
    const auto offset = parse_number(words[5].substr(1), 16);
    if (!offset) return std::nullopt;
    stretch.offset = *offset;
  }
  return stretch;
}

/// How two lines of maps hold the same thing: one file or no file, shared or not.
bool same_backing(const Mapping& a, const Mapping& b) {
  return a.shared == b.shared && a.inode == b.inode && a.device == b.device;
}

Backing backing_of(const Mapping& mapping) {
  if (!mapping.shared) return Backing::kPrivate;
  // Shared anonymous memory is a nameless file on the kernel's own tmpfs, just as a memfd is.
  const bool nameless = mapping.path.starts_with("/memfd:") || mapping.path.starts_with("/dev/zero");
  return nameless ? Backing::kMemfd : Backing::kFile;
}

Result<std::vector<std::string>> list_backends(Qmp& qmp) {
  std::vector<std::string> ids;
  const Json answer = TRY(query_array(qmp, "query-memdev"));
  for (const Json& backend : answer) {
    std::string id = text_at(backend, "id");
    if (id.empty()) return fail(ErrorKind::kUnsupported, "QEMU has a memory backend without a name");
    ids.push_back(std::move(id));
  }
  return ids;
}

/// The block of a backend. x-use-canonical-path-for-ramblock-id, of old machine types, puts "/objects/" before it.
const RamBlockLine* find_block(const std::vector<RamBlockLine>& lines, const std::string& backend) {
  for (const auto& line : lines) {
    if (line.name == backend || line.name == "/objects/" + backend) return &line;
  }
  return nullptr;
}

/// Where in QEMU's address space the block begins, by asking for both ends of its longest stretch.
Result<std::uint64_t> find_base(Qmp& qmp, const RamBlockLine& line, const PhysicalStretch& stretch) {
  const auto ask = [&](std::uint64_t distance) -> Result<std::uint64_t> {
    const std::uint64_t guest = stretch.address + distance;
    const auto found = parse_host_address(TRY(qmp.human(fmt::format("gpa2hva {:#x}", guest))));
    const std::uint64_t offset = stretch.offset + distance;
    if (!found || found->region != line.name || found->address < offset) {
      return fail(ErrorKind::kHypervisor, fmt::format("QEMU does not say where {:#x} of '{}' lies", guest, line.name));
    }
    return found->address - offset;
  };
  const std::uint64_t base = TRY(ask(0));
  const std::uint64_t last_page = (stretch.length - 1) / kPageSize * kPageSize;
  const std::uint64_t by_last_page = TRY(ask(last_page));
  if (by_last_page != base || line.host_address.value_or(base) != base) {
    return fail(ErrorKind::kHypervisor, fmt::format("QEMU contradicts itself about the place of '{}'", line.name));
  }
  return base;
}

Result<BlockInfo> describe(Qmp& qmp, const RamBlockLine& line, const std::vector<PhysicalStretch>& stretches,
                           const std::vector<Mapping>& mappings) {
  const auto longest = std::max_element(stretches.begin(), stretches.end(),
                                        [](const auto& a, const auto& b) { return a.length < b.length; });
  for (const auto& stretch : stretches) {
    if (stretch.offset > line.size || stretch.length > line.size - stretch.offset) {
      return fail(ErrorKind::kHypervisor, fmt::format("QEMU maps more of '{}' than there is", line.name));
    }
  }
  BlockInfo block;
  block.name = line.name;
  block.size = line.size;
  block.page_size = line.page_size;
  block.address = TRY(find_base(qmp, line, *longest));
  Cover found = TRY_IN(fmt::format("RAM block '{}'", line.name), cover(mappings, block.address, block.size));
  block.backing = found.backing;
  block.mapping = std::move(found.first);
  return block;
}

/// Looked for more than once: QEMU may be plugging something in just now, or its heap grow or shrink.
Status find_addresses(Qmp& qmp, const RemoteProcess& process, const Ram& ram, std::vector<RamBlockLine>& lines) {
  const ReadMemory read = [&](std::uint64_t address, MutableBytes out) { return read_remote(process, address, out); };
  for (int attempt = 1;; ++attempt) {
    const auto mappings = TRY(process.mappings());
    const auto found = find_block_list(read, mappings, lines, ram.blocks.front().name, ram.blocks.front().address);
    if (!found && attempt < kAttempts) {
      lines = parse_ram_blocks(TRY(qmp.human("info ramblock")));
      continue;
    }
    if (!found) return fail(found.error());
    for (const BlockInfo& block : ram.blocks) {
      const auto here = found->find(block.name);
      if (here == found->end() || here->second != block.address) {
        return fail(ErrorKind::kNotFound, fmt::format("its list of RAM blocks has '{}' elsewhere", block.name));
      }
    }
    for (RamBlockLine& line : lines) {
      if (line.size > 0) line.host_address = found->at(line.name);
    }
    return {};
  }
}

Result<Ram> find_once(Qmp& qmp, const RemoteProcess& process) {
  Ram ram;
  const auto backends = TRY(list_backends(qmp));
  const auto lines = parse_ram_blocks(TRY(qmp.human("info ramblock")));
  const auto view = parse_flat_view(TRY(qmp.human("info mtree -f")));
  const auto mappings = TRY(process.mappings());
  if (backends.size() > kMostBackends || view.size() > kMaxStretches) {
    return fail(ErrorKind::kUnsupported, "QEMU lists more RAM blocks than any VM has");
  }
  std::vector<std::pair<std::uint64_t, BlockInfo>> found;  // with the lowest guest-physical address
  for (const auto& backend : backends) {
    const auto* line = find_block(lines, backend);
    if (line == nullptr) continue;  // an object that no machine or device uses
    std::vector<PhysicalStretch> stretches;
    std::copy_if(view.begin(), view.end(), std::back_inserter(stretches),
                 [&](const auto& stretch) { return stretch.block == line->name; });
    if (stretches.empty()) {
      ram.unplaced.push_back(backend);
      continue;
    }
    found.emplace_back(stretches.front().address, TRY(describe(qmp, *line, stretches, mappings)));
    ram.physical.insert(ram.physical.end(), stretches.begin(), stretches.end());
  }
  if (found.empty()) return fail(ErrorKind::kUnsupported, "QEMU names no memory backend that the guest has as RAM");
  const auto by_address = [](const auto& a, const auto& b) { return a.first < b.first; };
  std::sort(found.begin(), found.end(), by_address);
  for (auto& block : found) ram.blocks.push_back(std::move(block.second));
  std::sort(ram.physical.begin(), ram.physical.end(),
            [](const auto& a, const auto& b) { return a.address < b.address; });
  return ram;
}

}  // namespace

std::vector<RamBlockLine> parse_ram_blocks(std::string_view text) {
  std::vector<RamBlockLine> lines;
  for (const auto row : lines_of(text)) {
    // name, page size, its unit, offset, used, total, [host address, rw]
    const auto words = split(row, ' ');
    if (words.size() < 6) continue;
    const auto count = parse_number(words[1], 10);
    const auto unit = unit_size(words[2]);
    const auto offset = parse_number(words[3], 16);
    const auto used = parse_number(words[4], 16);
    if (!count || unit == 0 || !offset || !used || *count > kGiB) continue;  // the heading
    RamBlockLine line;
    line.name = words[0];
    line.page_size = *count * unit;
    line.offset = *offset;
    line.size = *used;
    line.most = parse_number(words[5], 16).value_or(*used);
    if (words.size() > 6) line.host_address = parse_number(words[6], 16);
    lines.push_back(std::move(line));
  }
  return lines;
}

std::vector<PhysicalStretch> parse_flat_view(std::string_view text) {
  std::vector<PhysicalStretch> stretches;
  bool inside = false;  // in the view that address space "memory" uses
  for (const auto line : lines_of(text)) {
    if (line.starts_with("FlatView")) inside = false;
    if (line.starts_with(" AS \"memory\",")) inside = true;
    if (!inside) continue;
    if (auto stretch = parse_stretch(line)) stretches.push_back(std::move(*stretch));
  }
  return stretches;
}

std::optional<HostAddress> parse_host_address(std::string_view text) {
  // "Host virtual address for 0x100000 (pc.ram) is 0x7f10a3f00000"
  const auto open = text.find('(');
  const auto close = text.find(") is ", open == std::string_view::npos ? 0 : open);
  if (open == std::string_view::npos || close == std::string_view::npos) return std::nullopt;
  const auto rest = split(lines_of(text.substr(close + 5)).empty() ? "" : lines_of(text.substr(close + 5))[0], ' ');
  if (rest.empty()) return std::nullopt;
  const auto address = parse_number(rest[0], 16);
  if (!address) return std::nullopt;
  return HostAddress{std::string(text.substr(open + 1, close - open - 1)), *address};
}

Result<Cover> cover(const std::vector<Mapping>& mappings, std::uint64_t address, std::uint64_t size) {
  std::uint64_t reached = address;
  const Mapping* first = nullptr;
  for (const auto& mapping : mappings) {
    if (mapping.end <= reached) continue;
    if (mapping.start > reached || reached - address >= size) break;
    if (first == nullptr) {
      first = &mapping;
    } else if (!same_backing(*first, mapping)) {
      return fail(ErrorKind::kUnsupported, "it is partly backed by one thing and partly by another");
    } else if (mapping.inode != 0 && mapping.offset - first->offset != mapping.start - first->start) {
      return fail(ErrorKind::kUnsupported, "its file is mapped in pieces out of order");
    }
    if (!mapping.writable) return fail(ErrorKind::kUnsupported, "it is mapped read-only");
    reached = mapping.end;
  }
  if (first == nullptr || reached - address < size) {
    return fail(ErrorKind::kNotFound, fmt::format("the process does not map {:#x} bytes at {:#x}", size, address));
  }
  return Cover{backing_of(*first), *first};
}

/// A block without a name is used by nothing, and QEMU does not migrate it either.
Result<OtherBlocks> find_other_blocks(Qmp& qmp, const RemoteProcess& process, const Ram& ram) {
  OtherBlocks other;
  auto lines = parse_ram_blocks(TRY(qmp.human("info ramblock")));
  if (std::ranges::any_of(lines, [](const auto& line) { return line.size > 0 && !line.host_address; })) {
    const Status found = find_addresses(qmp, process, ram, lines);
    if (!found) {
      other.missing = fmt::format("QEMU before 8.0 does not tell where its RAM blocks lie, and they were not found: {}",
                                  found.error().message);
      return other;
    }
  }
  const auto mappings = TRY(process.mappings());
  for (const auto& line : lines) {
    const bool is_main = std::ranges::any_of(ram.blocks, [&](const BlockInfo& b) { return b.name == line.name; });
    if (is_main || line.size == 0) continue;
    auto found = cover(mappings, *line.host_address, line.size);
    if (!found) {
      other.missing = fmt::format("RAM block '{}': {}", line.name, found.error().message);
      return other;
    }
    BlockInfo block{.name = line.name, .size = line.size, .page_size = line.page_size, .address = *line.host_address};
    block.backing = found->backing;
    block.mapping = std::move(found->first);
    other.blocks.push_back(std::move(block));
  }
  return other;
}

Result<Ram> find_ram(Qmp& qmp, const RemoteProcess& process) {
  for (int attempt = 1;; ++attempt) {
    auto ram = find_once(qmp, process);
    if (ram || attempt == kAttempts || ram.error().kind != ErrorKind::kHypervisor) return ram;
  }
}

}  // namespace godwit::qemu
