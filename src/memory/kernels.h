// SIMD kernels: one function table per instruction set, chosen once, forceable by name.
#pragma once

#include <span>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "host/host_profile.h"
#include "memory/page.h"

namespace godwit {

/// Kernels neither allocate nor know the engine. All tables give the same answers.
struct Kernels {
  std::string_view name;  ///< "plain", "avx2", "avx512"

  /// Which of the `count` (at most 64) pages that lie one after the other at `pages` (aligned to 64 bytes) are all
  /// zeros: bit i for page i.
  PageWord (*zero_pages)(const std::byte* pages, unsigned count) noexcept;
};

/// All tables that this host can run, plain first.
std::span<const Kernels* const> kernels_for(const HostProfile& host);
/// The fastest that this host can run.
const Kernels& best_kernels(const HostProfile& host);
/// One by name; kInvalidArgument names those that there are, kUnsupported if this host cannot run it.
Result<const Kernels*> kernels_by_name(std::string_view name, const HostProfile& host);

}  // namespace godwit
