// SIMD kernels: one function table per instruction set, chosen once, forceable by name.
#pragma once

#include <span>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "host/host_profile.h"
#include "memory/page.h"
#include "memory/sub_blocks.h"

namespace godwit {

/// Kernels neither allocate nor know the engine. All tables give the same answers. Pages are aligned to 64 bytes, and
/// nobody writes to them meanwhile: they are the lane's copies. Joined sub-blocks lie anywhere.
struct Kernels {
  std::string_view name;  ///< "plain", "avx2", "avx512"

  /// Which of the `count` (at most 64) pages that lie one after the other at `pages` are one 64-bit value repeated: bit
  /// i for page i. Zero pages are among them: their first 8 bytes tell.
  PageWord (*uniform_pages)(const std::byte* pages, unsigned count) noexcept;

  /// The hash of each sub-block, as HashKey defines it. A pass of its own: right behind the look for uniform pages,
  /// page by page, it measures the same (bench_hash).
  void (*hash_page)(const std::byte* page, const HashKey& key, PageHashes& out) noexcept;
  /// The same into `hashes`, where the page's hashes of before lie. Gives the sub-blocks whose hash was another.
  SubBlockMask (*rehash_page)(const std::byte* page, const HashKey& key, PageHashes& hashes) noexcept;
  /// Which sub-blocks of `page` and `old` differ.
  SubBlockMask (*changed_sub_blocks)(const std::byte* page, const std::byte* old) noexcept;

  /// Writes the named sub-blocks to `out`, joined, sub_block_bytes() of them. Gives the end of what it wrote.
  std::byte* (*gather)(const std::byte* page, SubBlockMask mask, std::byte* out) noexcept;
  /// The same of `page` XOR `old`.
  std::byte* (*gather_xor)(const std::byte* page, const std::byte* old, SubBlockMask mask, std::byte* out) noexcept;
  /// Puts joined sub-blocks to their places in `page` and leaves its others alone. Gives the end of what it read.
  const std::byte* (*scatter)(const std::byte* in, SubBlockMask mask, std::byte* page) noexcept;
  /// The same, XORed with what is there.
  const std::byte* (*scatter_xor)(const std::byte* in, SubBlockMask mask, std::byte* page) noexcept;
};

/// All tables that this host can run, plain first.
std::span<const Kernels* const> kernels_for(const HostProfile& host);
/// The fastest that this host can run.
const Kernels& best_kernels(const HostProfile& host);
/// One by name; kInvalidArgument names those that there are, kUnsupported if this host cannot run it.
Result<const Kernels*> kernels_by_name(std::string_view name, const HostProfile& host);

}  // namespace godwit
