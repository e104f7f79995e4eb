// Counts what a program allocates by new: for tests of what must allocate nothing. Replaces the operators, so that only
// one file of a program may include it. Not inlined: else the compiler finds that free() does not fit new. Sanitizers
// have operators of their own: there nothing is counted.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define GODWIT_COUNTS_ALLOCATIONS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define GODWIT_COUNTS_ALLOCATIONS 0
#endif
#endif
#ifndef GODWIT_COUNTS_ALLOCATIONS
#define GODWIT_COUNTS_ALLOCATIONS 1
#endif

namespace godwit::testing {
inline constexpr bool kCountsAllocations = GODWIT_COUNTS_ALLOCATIONS != 0;
inline std::atomic<std::uint64_t> allocations{0};

inline void* counted(std::size_t bytes, std::size_t alignment) {
  ++allocations;
  const std::size_t whole = (bytes + alignment) / alignment * alignment;
  if (void* const memory = std::aligned_alloc(alignment, whole)) return memory;
  throw std::bad_alloc();
}
}  // namespace godwit::testing

#if GODWIT_COUNTS_ALLOCATIONS
[[gnu::noinline]] void* operator new(std::size_t bytes) {
  return godwit::testing::counted(bytes, alignof(std::max_align_t));
}
[[gnu::noinline]] void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return godwit::testing::counted(bytes, static_cast<std::size_t>(alignment));
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  std::free(memory);
}
#endif
