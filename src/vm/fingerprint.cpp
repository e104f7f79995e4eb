// Compares two fingerprints: what must be equal, and what the sink must have at least.
#include "vm/fingerprint.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

namespace godwit {
namespace {

using Sentences = std::vector<std::string>;

void compare_text(Sentences& out, std::string_view what, const std::string& source, const std::string& sink) {
  if (source != sink) out.push_back(fmt::format("the {} is '{}' at the source, '{}' at the sink", what, source, sink));
}

/// "0x1f8b" as a number; nothing if it is not one.
std::optional<std::uint64_t> parse_hex(std::string_view text) {
  if (!text.starts_with("0x")) return std::nullopt;
  text.remove_prefix(2);
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// A guest may use every feature that it was shown; the sink may have more, because a running guest does not ask again.
void compare_features(Sentences& out, const Fingerprint& source, const Fingerprint& sink) {
  for (const auto& [word, bits] : source.cpu_features) {
    const auto found = sink.cpu_features.find(word);
    const std::string other = found == sink.cpu_features.end() ? "0x0" : found->second;
    const auto have = parse_hex(other);
    const auto need = parse_hex(bits);
    if (have && need) {
      if ((*need & ~*have) == 0) continue;
      out.push_back(fmt::format("CPU feature word {} is {} at the source, {} at the sink: bits {:#x} are missing", word,
                                bits, other, *need & ~*have));
    } else if (bits != other) {
      out.push_back(fmt::format("CPU feature word {} is '{}' at the source, '{}' at the sink", word, bits, other));
    }
  }
}

const Fingerprint::Block* find_block(const Fingerprint& vm, const std::string& name) {
  for (const auto& block : vm.blocks) {
    if (block.name == name) return &block;
  }
  return nullptr;
}

void compare_blocks(Sentences& out, const Fingerprint& source, const Fingerprint& sink) {
  for (const auto& block : source.blocks) {
    const auto* other = find_block(sink, block.name);
    if (other == nullptr) {
      out.push_back(
          fmt::format("RAM block '{}' ({} bytes at the source) is missing at the sink", block.name, block.size));
    } else if (other->size != block.size) {
      out.push_back(fmt::format("RAM block '{}' has {} bytes at the source, {} bytes at the sink", block.name,
                                block.size, other->size));
    }
  }
  for (const auto& block : sink.blocks) {
    if (find_block(source, block.name) != nullptr) continue;
    out.push_back(
        fmt::format("RAM block '{}' ({} bytes at the sink) is missing at the source", block.name, block.size));
  }
}

// A number in the source's map that the sink's has too, with another value.
template <typename Map>
void compare_maps(Sentences& out, std::string_view what, const Map& source, const Map& sink) {
  for (const auto& [name, value] : source) {
    const auto other = sink.find(name);
    if (other == sink.end() || other->second == value || name == "user-networks") continue;
    out.push_back(fmt::format("{} '{}' is {} at the source, {} at the sink", what, name, value, other->second));
  }
}

/// The name that leads to another machine type at each version is what people write: "pc".
void compare_machines(Sentences& out, const Fingerprint& source, const Fingerprint& sink) {
  if (source.machine == sink.machine) return;
  std::string hint;
  if (!sink.machine_alias.empty()) {
    hint = fmt::format(" (which is what '{}' means in this version of QEMU: name the machine type in full)",
                       sink.machine_alias);
  }
  out.push_back(
      fmt::format("the machine type is '{}' at the source, '{}' at the sink{}", source.machine, sink.machine, hint));
}

void compare_cpus(Sentences& out, const Fingerprint& source, const Fingerprint& sink) {
  if (source.cpus != sink.cpus) {
    out.push_back(fmt::format("the VM has {} CPUs at the source, {} at the sink", source.cpus, sink.cpus));
  }
  // A guest uses addresses of the width that it was shown when it booted; a CPU with more has all of them. (QEMU sends
  // the masks of the MTRRs with all bits set above the width, so that they fit a wider CPU.)
  if (source.physical_bits > sink.physical_bits && sink.physical_bits != 0) {
    out.push_back(fmt::format("physical addresses have {} bits (phys-bits) at the source, {} at the sink",
                              source.physical_bits, sink.physical_bits));
  }
  compare_maps(out, "CPU topology:", source.topology, sink.topology);
  // Where their numbers or the topology differ all has been said; what is left is that others are plugged in.
  if (source.cpus != sink.cpus || source.topology != sink.topology || sink.cpu_places.empty()) return;
  for (const auto& place : source.cpu_places) {
    if (std::find(sink.cpu_places.begin(), sink.cpu_places.end(), place) != sink.cpu_places.end()) continue;
    out.push_back(fmt::format("the CPU at {} is missing at the sink", place));
  }
}

/// QEMU's user-mode network stack is the one backend with a state of its own in the stream. A sink may have more.
void compare_user_networks(Sentences& out, const Fingerprint& source, const Fingerprint& sink) {
  const auto count = [](const Fingerprint& vm) {
    const auto found = vm.machine_properties.find("user-networks");
    unsigned number = 0;
    if (found == vm.machine_properties.end()) return number;
    std::from_chars(found->second.data(), found->second.data() + found->second.size(), number);
    return number;
  };
  if (sink.machine_properties.empty() || count(source) <= count(sink)) return;
  out.push_back(
      fmt::format("networks of the type user (-netdev user), whose state moves with the VM: {} at the source, {} "
                  "at the sink",
                  count(source), count(sink)));
}

bool is_main_memory(const Fingerprint& vm, const std::string& name) {
  return find_block(vm, name) != nullptr;
}

/// ROMs, video memory, flash: the sink must have each block of the source, because QEMU ends itself at one that it does
/// not know, and may have more. Tables that the firmware fetches ("/rom@...") take the source's size.
void compare_memory(Sentences& out, const Fingerprint& source, const Fingerprint& sink) {
  if (source.memory.empty() || sink.memory.empty()) return;
  for (const auto& block : source.memory) {
    if (is_main_memory(source, block.name)) continue;
    const auto other = std::find_if(sink.memory.begin(), sink.memory.end(),
                                    [&](const Fingerprint::Memory& m) { return m.name == block.name; });
    if (other == sink.memory.end()) {
      out.push_back(
          fmt::format("memory block '{}' ({} bytes at the source) is missing at the sink", block.name, block.size));
      continue;
    }
    const bool resizes = block.name.starts_with("/rom@");
    if (resizes ? block.size <= other->most : block.size == other->size) continue;
    out.push_back(fmt::format("memory block '{}' has {} bytes at the source, {} bytes at the sink", block.name,
                              block.size, resizes ? other->most : other->size));
  }
}

}  // namespace

std::vector<std::string> differences(const Fingerprint& source, const Fingerprint& sink) {
  Sentences out;
  compare_text(out, "hypervisor", source.hypervisor, sink.hypervisor);
  compare_machines(out, source, sink);
  compare_text(out, "accelerator", source.accelerator, sink.accelerator);
  compare_text(out, "CPU model", source.cpu_model, sink.cpu_model);
  compare_cpus(out, source, sink);
  compare_features(out, source, sink);
  compare_blocks(out, source, sink);
  // On another board everything sits elsewhere: that says no more.
  if (source.machine != sink.machine) return out;
  compare_user_networks(out, source, sink);
  compare_maps(out, "machine property", source.machine_properties, sink.machine_properties);
  const auto devices = compare_devices(source.devices, sink.devices, source.version == sink.version);
  out.insert(out.end(), devices.begin(), devices.end());
  compare_memory(out, source, sink);
  return out;
}

}  // namespace godwit
