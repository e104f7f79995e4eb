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
};

}  // namespace

constexpr Kernels kAvx2Kernels = table_of<Avx2>("avx2");

}  // namespace godwit
