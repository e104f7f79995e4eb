// Compares two fingerprints: what must be equal, and what the sink must have at least.
#include "vm/fingerprint.h"

#include <fmt/format.h>

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

// A guest may use every feature that it was shown; the sink may have more, for a running guest does not ask again.
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

}  // namespace

std::vector<std::string> differences(const Fingerprint& source, const Fingerprint& sink) {
  Sentences out;
  compare_text(out, "hypervisor", source.hypervisor, sink.hypervisor);
  compare_text(out, "machine type", source.machine, sink.machine);
  compare_text(out, "accelerator", source.accelerator, sink.accelerator);
  compare_text(out, "CPU model", source.cpu_model, sink.cpu_model);
  if (source.cpus != sink.cpus) {
    out.push_back(fmt::format("the VM has {} CPUs at the source, {} at the sink", source.cpus, sink.cpus));
  }
  compare_features(out, source, sink);
  compare_blocks(out, source, sink);
  return out;
}

}  // namespace godwit
