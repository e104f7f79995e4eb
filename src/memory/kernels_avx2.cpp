// Kernels for AVX2: 32 bytes at a time. Intrinsics only, see kernel_tables.h.
#include <immintrin.h>

#include "memory/kernel_tables.h"

namespace godwit {

namespace {

constexpr std::size_t kVectorsPerPage = kPageSize / sizeof(__m256i);

bool page_is_zero(const __m256i* page) noexcept {
  // Pages that are not zero mostly show it in their first line; the rest goes by four lines, a branch for each.
  const __m256i first = _mm256_or_si256(_mm256_load_si256(page), _mm256_load_si256(page + 1));
  if (_mm256_testz_si256(first, first) == 0) return false;
  for (std::size_t at = 0; at < kVectorsPerPage; at += 8) {
    const __m256i a = _mm256_or_si256(_mm256_load_si256(page + at), _mm256_load_si256(page + at + 1));
    const __m256i b = _mm256_or_si256(_mm256_load_si256(page + at + 2), _mm256_load_si256(page + at + 3));
    const __m256i c = _mm256_or_si256(_mm256_load_si256(page + at + 4), _mm256_load_si256(page + at + 5));
    const __m256i d = _mm256_or_si256(_mm256_load_si256(page + at + 6), _mm256_load_si256(page + at + 7));
    const __m256i all = _mm256_or_si256(_mm256_or_si256(a, b), _mm256_or_si256(c, d));
    if (_mm256_testz_si256(all, all) == 0) return false;
  }
  return true;
}

PageWord zero_pages(const std::byte* pages, unsigned count) noexcept {
  PageWord zero = 0;
  for (unsigned i = 0; i < count; ++i) {
    if (page_is_zero(reinterpret_cast<const __m256i*>(pages + i * kPageSize))) zero |= PageWord{1} << i;
  }
  return zero;
}

}  // namespace

const Kernels kAvx2Kernels = {.name = "avx2", .zero_pages = zero_pages};

}  // namespace godwit
