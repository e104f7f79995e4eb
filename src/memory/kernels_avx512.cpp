// Kernels for AVX-512 (F): a cache line at a time. Intrinsics only, see kernel_tables.h.
#include <immintrin.h>

#include "memory/kernel_tables.h"

namespace godwit {

namespace {

constexpr std::size_t kLinesPerPage = kPageSize / sizeof(__m512i);

bool page_is_zero(const __m512i* page) noexcept {
  // Pages that are not zero mostly show it in their first line; the rest goes by four lines, a branch for each.
  const __m512i first = _mm512_load_si512(page);
  if (_mm512_test_epi64_mask(first, first) != 0) return false;
  for (std::size_t at = 0; at < kLinesPerPage; at += 4) {
    const __m512i a = _mm512_or_si512(_mm512_load_si512(page + at), _mm512_load_si512(page + at + 1));
    const __m512i b = _mm512_or_si512(_mm512_load_si512(page + at + 2), _mm512_load_si512(page + at + 3));
    const __m512i all = _mm512_or_si512(a, b);
    if (_mm512_test_epi64_mask(all, all) != 0) return false;
  }
  return true;
}

PageWord zero_pages(const std::byte* pages, unsigned count) noexcept {
  PageWord zero = 0;
  for (unsigned i = 0; i < count; ++i) {
    if (page_is_zero(reinterpret_cast<const __m512i*>(pages + i * kPageSize))) zero |= PageWord{1} << i;
  }
  return zero;
}

}  // namespace

const Kernels kAvx512Kernels = {.name = "avx512", .zero_pages = zero_pages};

}  // namespace godwit
