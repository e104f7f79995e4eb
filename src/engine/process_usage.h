// What this process itself costs: CPU time and memory.
#pragma once

#include <cstdint>

#include "base/clock.h"

namespace godwit {

/// User and system time of all threads so far.
Duration cpu_time() noexcept;
/// User and system time of the calling thread so far.
Duration thread_cpu_time() noexcept;
/// Anonymous memory now, bytes: what the engine itself takes. Guest RAM that it maps belongs to the guest.
std::uint64_t anonymous_memory() noexcept;

}  // namespace godwit
