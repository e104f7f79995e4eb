// Kernels that every host can run, and the answer that all others are tested against.
#include "memory/kernel_loops.h"

namespace godwit {

namespace {

/// Two words at once, in the compilers' own notation: they know what the least of hosts has for it.
struct Plain {
  using Type = std::uint64_t __attribute__((vector_size(16)));
  static constexpr std::size_t kSize = sizeof(Type);

  static Type load_anywhere(const std::byte* at) noexcept {
    Type value;
    __builtin_memcpy(&value, at, kSize);
    return value;
  }
  static void store_anywhere(std::byte* at, Type value) noexcept { __builtin_memcpy(at, &value, kSize); }
  static Type load(const std::byte* at) noexcept { return load_anywhere(at); }
  static void store(std::byte* at, Type value) noexcept { store_anywhere(at, value); }
  static Type repeat(const std::byte* at) noexcept {
    std::uint64_t word = 0;
    __builtin_memcpy(&word, at, sizeof(word));
    return Type{word, word};
  }
  static Type exclusive_or(Type a, Type b) noexcept { return a ^ b; }
  static Type differ(Type so_far, Type a, Type b) noexcept { return so_far | (a ^ b); }
  static bool is_zero(Type value) noexcept { return (value[0] | value[1]) == 0; }

  static constexpr unsigned kHashed = 4;  // they share what it takes to put a factor together
  static void hash(const std::byte* at, const HashKey& key, std::uint64_t* out) noexcept {
    std::uint64_t a[kHashed];
    std::uint64_t b[kHashed];
#pragma GCC unroll 8
    for (unsigned s = 0; s < kHashed; ++s) {
      a[s] = key.a.start;
      b[s] = key.b.start;
    }
    for (unsigned i = 0; i < kWordsPerSubBlock; ++i) {
      const std::uint64_t a_factor = std::uint64_t{key.a.upper[i]} << 32 | key.a.lower[i];
      const std::uint64_t b_factor = std::uint64_t{key.b.upper[i]} << 32 | key.b.lower[i];
#pragma GCC unroll 8
      for (unsigned s = 0; s < kHashed; ++s) {
        std::uint32_t word = 0;
        __builtin_memcpy(&word, at + s * kSubBlockSize + i * sizeof(word), sizeof(word));
        a[s] += a_factor * word;
        b[s] += b_factor * word;
      }
    }
#pragma GCC unroll 8
    for (unsigned s = 0; s < kHashed; ++s) out[s] = (a[s] >> 32) << 32 | b[s] >> 32;
  }
};

}  // namespace

constexpr Kernels kPlainKernels = table_of<Plain>("plain");

}  // namespace godwit
