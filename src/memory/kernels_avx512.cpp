// Kernels for AVX-512 (F): a cache line at a time. Intrinsics only, see kernel_tables.h.
// GCC 12 warns of its own "undefined" operands.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop

#include "memory/kernel_loops.h"

namespace godwit {

namespace {

struct Avx512 {
  using Type = __m512i;
  static constexpr std::size_t kSize = sizeof(Type);

  static Type load(const std::byte* at) noexcept { return _mm512_load_si512(at); }
  static void store(std::byte* at, Type value) noexcept { _mm512_store_si512(at, value); }
  static Type load_anywhere(const std::byte* at) noexcept { return _mm512_loadu_si512(at); }
  static void store_anywhere(std::byte* at, Type value) noexcept { _mm512_storeu_si512(at, value); }
  static Type repeat(const std::byte* at) noexcept {
    long long word = 0;
    __builtin_memcpy(&word, at, sizeof(word));
    return _mm512_set1_epi64(word);
  }
  static Type exclusive_or(Type a, Type b) noexcept { return _mm512_xor_si512(a, b); }
  static Type differ(Type so_far, Type a, Type b) noexcept {
    constexpr int kOrOfXor = 0xf6;  // the truth table of a | (b ^ c), in one instruction
    return _mm512_ternarylogic_epi64(so_far, a, b, kOrOfXor);
  }
  static bool is_zero(Type value) noexcept { return _mm512_test_epi64_mask(value, value) == 0; }

  static constexpr unsigned kHashed = 4;  // their sums and what they are multiplied by fit 32 registers
  static void hash(const std::byte* at, const HashKey& key, std::uint64_t* out) noexcept {
    multilinear<Avx512>(at, key, out);
  }
  static Type load_words(const std::uint32_t* at) noexcept { return _mm512_load_si512(at); }
  static Type first(const std::uint64_t* at) noexcept {
    return _mm512_zextsi128_si512(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(at)));
  }
  static Type odd(Type a) noexcept { return _mm512_srli_epi64(a, 32); }
  static Type products(Type a, Type b) noexcept { return _mm512_mul_epu32(a, b); }
  static Type low_products(Type a, Type b) noexcept { return _mm512_mullo_epi32(a, b); }
  static Type add(Type a, Type b) noexcept { return _mm512_add_epi64(a, b); }
  static Type add_words(Type a, Type b) noexcept { return _mm512_add_epi32(a, b); }
  static Type join(Type lower, Type upper) noexcept {
    const Type both = _mm512_add_epi32(upper, _mm512_srli_epi64(upper, 32));
    return add(lower, _mm512_slli_epi64(both, 32));
  }
  static std::uint64_t hash_of(Type a, Type b) noexcept {
    const Type pairs = add(_mm512_unpacklo_epi64(b, a), _mm512_unpackhi_epi64(b, a));
    const __m256i half = _mm256_add_epi64(_mm512_castsi512_si256(pairs), _mm512_extracti64x4_epi64(pairs, 1));
    const __m128i sums = _mm_add_epi64(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    return static_cast<std::uint64_t>(_mm_cvtsi128_si64(_mm_shuffle_epi32(sums, _MM_SHUFFLE(3, 3, 3, 1))));
  }
};

}  // namespace

constexpr Kernels kAvx512Kernels = table_of<Avx512>("avx512");

}  // namespace godwit
