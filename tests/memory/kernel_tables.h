// What the tests of kernels share: each test runs for every table that this host has, and says which it has not.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <random>
#include <string>

#include "memory/kernels.h"

namespace godwit::testing {

inline HostProfile this_host() {
  HostProfile host;
  host.avx2 = __builtin_cpu_supports("avx2") != 0;
  host.avx512 = __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
                __builtin_cpu_supports("avx512vl") != 0 && __builtin_cpu_supports("avx512dq") != 0;
  return host;
}

/// Pages of zeros, aligned as kernels want it, and no more than they promise.
class Pages {
 public:
  explicit Pages(std::size_t count = kPagesPerChunk) : bytes(allocate((count + 1) * kPageSize) + kAlignment) {}
  ~Pages() { std::free(bytes - kAlignment); }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;

  std::byte* const bytes;

 private:
  static constexpr std::size_t kAlignment = 64;
  static std::byte* allocate(std::size_t size) {
    void* const memory = std::aligned_alloc(kPageSize, size);
    if (memory == nullptr) std::abort();
    return static_cast<std::byte*>(std::memset(memory, 0, size));
  }
};

inline void fill_at_random(std::byte* bytes, std::size_t size, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  for (std::size_t at = 0; at < size; ++at) bytes[at] = static_cast<std::byte>(random());
}

/// The parameter is the table's name.
class KernelsTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const auto found = kernels_by_name(GetParam(), this_host());
    if (!found) GTEST_SKIP() << found.error().message;
    kernels_ = *found;
    ASSERT_EQ(kernels_->name, GetParam());
  }
  static const Kernels& plain() { return *kernels_for(this_host()).front(); }

  const Kernels* kernels_ = nullptr;
};

inline const auto kAllTables = ::testing::Values("plain", "avx2", "avx512");
inline std::string name_of_table(const ::testing::TestParamInfo<const char*>& table) {
  return table.param;
}

}  // namespace godwit::testing
