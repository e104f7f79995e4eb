// What this process itself takes.
#pragma once

#include <cstdint>

namespace godwit {

/// Anonymous memory now, bytes: what the engine itself takes. Guest RAM that it maps belongs to the guest.
std::uint64_t anonymous_memory() noexcept;

}  // namespace godwit
