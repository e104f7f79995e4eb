#include "host/cpus.h"

#include <sched.h>

#include <memory>

namespace godwit {

namespace {

struct FreeCpuSet {
  void operator()(cpu_set_t* set) const noexcept { CPU_FREE(set); }
};

// The largest x86 kernels are built for 8192 CPUs.
constexpr int kMostCpus = 8192;

}  // namespace

unsigned usable_cpus() noexcept {
  const std::unique_ptr<cpu_set_t, FreeCpuSet> set(CPU_ALLOC(kMostCpus));
  const std::size_t size = CPU_ALLOC_SIZE(kMostCpus);
  if (set == nullptr || ::sched_getaffinity(0, size, set.get()) != 0) return 1;
  const int count = CPU_COUNT_S(size, set.get());
  return count > 0 ? static_cast<unsigned>(count) : 1;
}

}  // namespace godwit
