// Kernels for AVX-512 (F): a cache line at a time. Intrinsics only, see kernel_tables.h.
#include <immintrin.h>

// For sub-blocks of 256 bytes two halves of 32 measure better than a vector of 64: 22 against 17 GiB/s (bench_hash).
#define XXH_VECTOR XXH_AVX2
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
};

}  // namespace

constexpr Kernels kAvx512Kernels = table_of<Avx512>("avx512");

}  // namespace godwit
