// The loops of the kernels, for the file of each instruction set: it says what a vector is, and takes its table from
// here.
//
// All of this is in an unnamed namespace, and libxxhash's functions are static here: each file has copies of its own,
// made of its own instructions, and the linker finds nothing to merge (see kernel_tables.h). For the same reason
// nothing here calls std::array's members or other inline functions: where those are not inlined, they are merged.
//
// A Vector is a type of one file with `Type`, `kSize` (bytes, divides a line of 64), and functions
//   load, store (aligned), load_anywhere, store_anywhere (unaligned)
//   repeat(p)            the 64-bit value at p in all places
//   exclusive_or(a, b)
//   differ(so_far, a, b) so_far | (a ^ b)
//   is_zero(a)
#pragma once

#ifndef NDEBUG
#define XXH_NO_INLINE_HINTS 1  // with -Og GCC 12 cannot inline all that the library insists on, and gives up
#endif
#define XXH_INLINE_ALL  // static functions for the file's instruction set
#include <xxhash.h>

#include "memory/kernel_tables.h"

namespace godwit {
namespace {

constexpr std::size_t kLine = 64;

/// Whether a line (or more: `size` bytes) differs from what next(offset) gives.
template <typename Vector, std::size_t size, typename Next>
bool lines_differ(const std::byte* at, Next next) noexcept {
  typename Vector::Type so_far = Vector::exclusive_or(Vector::load(at), next(0));
  for (std::size_t i = Vector::kSize; i < size; i += Vector::kSize) {
    so_far = Vector::differ(so_far, Vector::load(at + i), next(i));
  }
  return !Vector::is_zero(so_far);
}

template <typename Vector>
bool page_is_uniform(const std::byte* page) noexcept {
  // Pages that are not uniform mostly show it in their first line; the rest goes by four lines, a branch for each.
  const typename Vector::Type value = Vector::repeat(page);
  const auto same = [value](std::size_t) noexcept { return value; };
  if (lines_differ<Vector, kLine>(page, same)) return false;
  for (std::size_t at = 0; at < kPageSize; at += 4 * kLine) {
    if (lines_differ<Vector, 4 * kLine>(page + at, same)) return false;
  }
  return true;
}

template <typename Vector>
PageWord uniform_pages(const std::byte* pages, unsigned count) noexcept {
  PageWord uniform = 0;
  for (unsigned i = 0; i < count; ++i) {
    if (page_is_uniform<Vector>(pages + i * kPageSize)) uniform |= PageWord{1} << i;
  }
  return uniform;
}

// libxxhash rather than a hash of our own: 12 (plain) and 22 GiB/s (bench_hash) are far above what a lane reads and
// sends.
std::uint64_t hash_sub_block(const std::byte* at, const HashKey& key) noexcept {
  return XXH3_64bits_withSecret(at, kSubBlockSize, &key, sizeof(key));
}

/// The hashes as a plain array: std::array's own functions are not to be called here.
std::uint64_t* words_of(PageHashes& hashes) noexcept {
  return reinterpret_cast<std::uint64_t*>(&hashes);
}

void hash_page(const std::byte* page, const HashKey& key, PageHashes& out) noexcept {
  std::uint64_t* const words = words_of(out);
  for (unsigned i = 0; i < kSubBlocksPerPage; ++i) words[i] = hash_sub_block(page + i * kSubBlockSize, key);
}

SubBlockMask rehash_page(const std::byte* page, const HashKey& key, PageHashes& hashes) noexcept {
  std::uint64_t* const words = words_of(hashes);
  unsigned changed = 0;
  for (unsigned i = 0; i < kSubBlocksPerPage; ++i) {
    const std::uint64_t now = hash_sub_block(page + i * kSubBlockSize, key);
    changed |= unsigned{now != words[i]} << i;
    words[i] = now;
  }
  return static_cast<SubBlockMask>(changed);
}

template <typename Vector>
SubBlockMask changed_sub_blocks(const std::byte* page, const std::byte* old) noexcept {
  unsigned changed = 0;
  for (unsigned i = 0; i < kSubBlocksPerPage; ++i) {
    const std::byte* const before = old + i * kSubBlockSize;
    const auto was = [before](std::size_t at) noexcept { return Vector::load(before + at); };
    changed |= unsigned{lines_differ<Vector, kSubBlockSize>(page + i * kSubBlockSize, was)} << i;
  }
  return static_cast<SubBlockMask>(changed);
}

/// Calls visit(offset in the page, offset among the joined) for each sub-block of the mask, in order; gives their size.
template <typename Visit>
std::size_t for_each_sub_block(SubBlockMask mask, Visit visit) noexcept {
  std::size_t joined = 0;
  for (unsigned left = mask; left != 0; left &= left - 1, joined += kSubBlockSize) {
    visit(static_cast<std::size_t>(__builtin_ctz(left)) * kSubBlockSize, joined);
  }
  return joined;
}

template <typename Vector>
std::byte* gather(const std::byte* page, SubBlockMask mask, std::byte* out) noexcept {
  return out + for_each_sub_block(mask, [page, out](std::size_t place, std::size_t joined) noexcept {
           for (std::size_t i = 0; i < kSubBlockSize; i += Vector::kSize) {
             Vector::store_anywhere(out + joined + i, Vector::load(page + place + i));
           }
         });
}

template <typename Vector>
std::byte* gather_xor(const std::byte* page, const std::byte* old, SubBlockMask mask, std::byte* out) noexcept {
  return out + for_each_sub_block(mask, [page, old, out](std::size_t place, std::size_t joined) noexcept {
           for (std::size_t i = 0; i < kSubBlockSize; i += Vector::kSize) {
             Vector::store_anywhere(
                 out + joined + i, Vector::exclusive_or(Vector::load(page + place + i), Vector::load(old + place + i)));
           }
         });
}

template <typename Vector>
const std::byte* scatter(const std::byte* in, SubBlockMask mask, std::byte* page) noexcept {
  return in + for_each_sub_block(mask, [in, page](std::size_t place, std::size_t joined) noexcept {
           for (std::size_t i = 0; i < kSubBlockSize; i += Vector::kSize) {
             Vector::store(page + place + i, Vector::load_anywhere(in + joined + i));
           }
         });
}

template <typename Vector>
const std::byte* scatter_xor(const std::byte* in, SubBlockMask mask, std::byte* page) noexcept {
  return in + for_each_sub_block(mask, [in, page](std::size_t place, std::size_t joined) noexcept {
           for (std::size_t i = 0; i < kSubBlockSize; i += Vector::kSize) {
             Vector::store(page + place + i, Vector::exclusive_or(Vector::load(page + place + i),
                                                                  Vector::load_anywhere(in + joined + i)));
           }
         });
}

/// The table of the file that asks. Constant, so that it is there before any code runs.
template <typename Vector>
constexpr Kernels table_of(const char* name) noexcept {
  return {.name = {name, __builtin_strlen(name)},
          .uniform_pages = uniform_pages<Vector>,
          .hash_page = hash_page,
          .rehash_page = rehash_page,
          .changed_sub_blocks = changed_sub_blocks<Vector>,
          .gather = gather<Vector>,
          .gather_xor = gather_xor<Vector>,
          .scatter = scatter<Vector>,
          .scatter_xor = scatter_xor<Vector>};
}

}  // namespace
}  // namespace godwit
