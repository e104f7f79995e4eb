// The CPUs that this process may run on.
#pragma once

namespace godwit {

/// By its affinity mask; at least 1.
unsigned usable_cpus() noexcept;

}  // namespace godwit
