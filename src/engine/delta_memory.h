// How much memory deltas may take where nobody has said.
#pragma once

#include <cstdint>

namespace godwit {

/// Bytes for all lanes together. With up to four lanes all that an engine takes stays below 64 MiB and 1 % of RAM.
std::uint64_t default_delta_memory(std::uint64_t ram_bytes, unsigned lanes) noexcept;

}  // namespace godwit
