// Kernels for AVX2: 32 bytes at a time. Intrinsics only, see kernel_tables.h.
#include <immintrin.h>

#include "memory/kernel_loops.h"

namespace godwit {

namespace {

struct Avx2 {
  using Type = __m256i;
  static constexpr std::size_t kSize = sizeof(Type);

  static Type load(const std::byte* at) noexcept { return _mm256_load_si256(reinterpret_cast<const Type*>(at)); }
  static void store(std::byte* at, Type value) noexcept { _mm256_store_si256(reinterpret_cast<Type*>(at), value); }
  static Type load_anywhere(const std::byte* at) noexcept {
    return _mm256_loadu_si256(reinterpret_cast<const Type*>(at));
  }
  static void store_anywhere(std::byte* at, Type value) noexcept {
    _mm256_storeu_si256(reinterpret_cast<Type*>(at), value);
  }
  static Type repeat(const std::byte* at) noexcept {
    long long word = 0;
    __builtin_memcpy(&word, at, sizeof(word));
    return _mm256_set1_epi64x(word);
  }
  static Type exclusive_or(Type a, Type b) noexcept { return _mm256_xor_si256(a, b); }
  static Type differ(Type so_far, Type a, Type b) noexcept { return _mm256_or_si256(so_far, _mm256_xor_si256(a, b)); }
  static bool is_zero(Type value) noexcept { return _mm256_testz_si256(value, value) != 0; }

  static constexpr unsigned kHashed = 2;  // their sums and what they are multiplied by just fit 16 registers
  static void hash(const std::byte* at, const HashKey& key, std::uint64_t* out) noexcept {
    multilinear<Avx2>(at, key, out);
  }
  static Type load_words(const std::uint32_t* at) noexcept {
    return _mm256_load_si256(reinterpret_cast<const Type*>(at));
  }
  static Type first(const std::uint64_t* at) noexcept {
    return _mm256_zextsi128_si256(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(at)));
  }
  static Type odd(Type a) noexcept { return _mm256_srli_epi64(a, 32); }
  static Type products(Type a, Type b) noexcept { return _mm256_mul_epu32(a, b); }
  static Type low_products(Type a, Type b) noexcept { return _mm256_mullo_epi32(a, b); }
  static Type add(Type a, Type b) noexcept { return _mm256_add_epi64(a, b); }
  static Type add_words(Type a, Type b) noexcept { return _mm256_add_epi32(a, b); }
  static Type join(Type lower, Type upper) noexcept {
    const Type both = _mm256_add_epi32(upper, _mm256_srli_epi64(upper, 32));
    return add(lower, _mm256_slli_epi64(both, 32));
  }
  static std::uint64_t hash_of(Type a, Type b) noexcept {
    const Type pairs = add(_mm256_unpacklo_epi64(b, a), _mm256_unpackhi_epi64(b, a));
    const __m128i sums = _mm_add_epi64(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
    return static_cast<std::uint64_t>(_mm_cvtsi128_si64(_mm_shuffle_epi32(sums, _MM_SHUFFLE(3, 3, 3, 1))));
  }
};

}  // namespace

constexpr Kernels kAvx2Kernels = table_of<Avx2>("avx2");

}  // namespace godwit
