// Kernels that every host can run, and the answer that all others are tested against.
#include <cstring>

#include "memory/kernel_tables.h"

namespace godwit {

namespace {

constexpr std::size_t kLine = 64;

bool line_is_zero(const std::byte* line) noexcept {
  std::uint64_t words[kLine / sizeof(std::uint64_t)];
  std::memcpy(words, line, kLine);
  return ((words[0] | words[1]) | (words[2] | words[3]) | (words[4] | words[5]) | (words[6] | words[7])) == 0;
}

bool page_is_zero(const std::byte* page) noexcept {
  for (std::size_t at = 0; at < kPageSize; at += kLine) {
    if (!line_is_zero(page + at)) return false;
  }
  return true;
}

PageWord zero_pages(const std::byte* pages, unsigned count) noexcept {
  PageWord zero = 0;
  for (unsigned i = 0; i < count; ++i) {
    if (page_is_zero(pages + i * kPageSize)) zero |= PageWord{1} << i;
  }
  return zero;
}

}  // namespace

const Kernels kPlainKernels = {.name = "plain", .zero_pages = zero_pages};

}  // namespace godwit
