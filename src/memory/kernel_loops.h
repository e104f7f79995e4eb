// The loops of the kernels, for the file of each instruction set: it says what a vector is, and takes its table from
// here.
//
// All of this is in an unnamed namespace: each file has copies of its own, made of its own instructions, and the linker
// finds nothing to merge (see kernel_tables.h). For the same reason nothing here calls std::array's members or other
// inline functions: where those are not inlined, they are merged.
//
// A Vector is a type of one file with `Type`, `kSize` (bytes, divides a line of 64), and functions
//   load, store (aligned), load_anywhere, store_anywhere (unaligned)
//   repeat(p)            the 64-bit value at p in all places
//   exclusive_or(a, b)
//   differ(so_far, a, b) so_far | (a ^ b)
//   is_zero(a)
//   kHashed, hash(at, key, out)  the hashes of that many sub-blocks, which lie one after the other
// and, if hash() leaves it to multilinear() below,
//   load_words(p)        a vector of words of 32 bits (aligned)
//   first(p)             the 64-bit value at p, then zeros
//   odd(a)               the words 1, 3, 5, ... in the places of 0, 2, 4, ...
//   products(a, b)       of the words 0, 2, 4, ..., 64 bits each
//   low_products(a, b)   of all words, their lower 32 bits
//   add, add_words       by 64 and by 32 bits
//   join(lower, upper)   64 bits each: lower + (the sum of two words of upper) * 2^32
//   hash_of(a, b)        of each the sum of all its 64-bit values; then the upper half of a's, and that of b's
#pragma once

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

/// One function of the key over some words: what becomes of them by the lower and by the upper halves of the factors.
/// An upper half counts 2^32 times, so that only the lower half of its product is left.
template <typename Vector>
struct Sums {
  typename Vector::Type lower;  ///< by 64 bits
  typename Vector::Type upper;  ///< by 32 bits
};

/// The hashes of Vector::kHashed sub-blocks. Together, so that they share the reads of the key.
template <typename Vector>
void multilinear(const std::byte* at, const HashKey& key, std::uint64_t* out) noexcept {
  using Type = typename Vector::Type;
  constexpr unsigned kHashed = Vector::kHashed;
  constexpr Type zeros{};
  Sums<Vector> a[kHashed];
  Sums<Vector> b[kHashed];
#pragma GCC unroll 8
  for (unsigned s = 0; s < kHashed; ++s) {
    a[s] = {Vector::first(&key.a.start), zeros};
    b[s] = {Vector::first(&key.b.start), zeros};
  }
  const auto add = [](Sums<Vector>& sums, Type words, Type odd, Type lower, Type odd_lower, Type upper) noexcept {
    sums.lower = Vector::add(sums.lower, Vector::products(words, lower));
    sums.lower = Vector::add(sums.lower, Vector::products(odd, odd_lower));
    sums.upper = Vector::add_words(sums.upper, Vector::low_products(words, upper));
  };
  constexpr unsigned kWords = Vector::kSize / sizeof(std::uint32_t);
  for (unsigned i = 0; i < kWordsPerSubBlock; i += kWords) {
    const Type a_lower = Vector::load_words(key.a.lower + i);
    const Type b_lower = Vector::load_words(key.b.lower + i);
    const Type a_upper = Vector::load_words(key.a.upper + i);
    const Type b_upper = Vector::load_words(key.b.upper + i);
    const Type a_odd = Vector::odd(a_lower);
    const Type b_odd = Vector::odd(b_lower);
#pragma GCC unroll 8
    for (unsigned s = 0; s < kHashed; ++s) {
      const Type words = Vector::load(at + s * kSubBlockSize + i * sizeof(std::uint32_t));
      const Type odd = Vector::odd(words);
      add(a[s], words, odd, a_lower, a_odd, a_upper);
      add(b[s], words, odd, b_lower, b_odd, b_upper);
    }
  }
#pragma GCC unroll 8
  for (unsigned s = 0; s < kHashed; ++s) {
    out[s] = Vector::hash_of(Vector::join(a[s].lower, a[s].upper), Vector::join(b[s].lower, b[s].upper));
  }
}

/// Those of all sub-blocks of a page.
template <typename Vector>
void hash_sub_blocks(const std::byte* page, const HashKey& key, std::uint64_t* out) noexcept {
  static_assert(kSubBlocksPerPage % Vector::kHashed == 0);
  for (unsigned i = 0; i < kSubBlocksPerPage; i += Vector::kHashed) {
    Vector::hash(page + i * kSubBlockSize, key, out + i);
  }
}

/// The hashes as a plain array: std::array's own functions are not to be called here.
std::uint64_t* words_of(PageHashes& hashes) noexcept {
  return reinterpret_cast<std::uint64_t*>(&hashes);
}

template <typename Vector>
void hash_page(const std::byte* page, const HashKey& key, PageHashes& out) noexcept {
  hash_sub_blocks<Vector>(page, key, words_of(out));
}

template <typename Vector>
SubBlockMask rehash_page(const std::byte* page, const HashKey& key, PageHashes& hashes) noexcept {
  std::uint64_t now[kSubBlocksPerPage];
  hash_sub_blocks<Vector>(page, key, now);
  std::uint64_t* const words = words_of(hashes);
  unsigned changed = 0;
  for (unsigned i = 0; i < kSubBlocksPerPage; ++i) {
    changed |= unsigned{now[i] != words[i]} << i;
    words[i] = now[i];
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
          .hash_page = hash_page<Vector>,
          .rehash_page = rehash_page<Vector>,
          .changed_sub_blocks = changed_sub_blocks<Vector>,
          .gather = gather<Vector>,
          .gather_xor = gather_xor<Vector>,
          .scatter = scatter<Vector>,
          .scatter_xor = scatter_xor<Vector>};
}

}  // namespace
}  // namespace godwit
