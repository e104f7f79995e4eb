#include "host/cpu.h"

#include <sched.h>

#include <memory>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace godwit {

namespace {

struct FreeCpuSet {
  void operator()(cpu_set_t* set) const noexcept { CPU_FREE(set); }
};

// The largest x86 kernels are built for 8192 CPUs.
constexpr int kMostCpus = 8192;

constexpr std::uint32_t bit(unsigned number) noexcept {
  return std::uint32_t{1} << number;
}

// Intel SDM, CPUID leaf 1 (ECX) and leaf 7 (EBX).
constexpr std::uint32_t kOsxsave = bit(27);
constexpr std::uint32_t kAvx = bit(28);
constexpr std::uint32_t kAvx2 = bit(5);
constexpr std::uint32_t kAvx512 = bit(16) | bit(17) | bit(30) | bit(31);  // F, DQ, BW, VL

// XCR0: the register states that the operating system saves at a context switch. A CPU may have AVX-512 under a kernel
// or hypervisor that does not save it; using it then corrupts other threads' registers.
constexpr std::uint64_t kSavesAvx = 0x06;     // SSE and AVX
constexpr std::uint64_t kSavesAvx512 = 0xe6;  // and opmask, upper halves of ZMM0-15, ZMM16-31

bool has(std::uint64_t value, std::uint64_t wanted) noexcept {
  return (value & wanted) == wanted;
}

}  // namespace

unsigned usable_cpus() noexcept {
  const std::unique_ptr<cpu_set_t, FreeCpuSet> set(CPU_ALLOC(kMostCpus));
  const std::size_t size = CPU_ALLOC_SIZE(kMostCpus);
  if (set == nullptr || ::sched_getaffinity(0, size, set.get()) != 0) return 1;
  const int count = CPU_COUNT_S(size, set.get());
  return count > 0 ? static_cast<unsigned>(count) : 1;
}

CpuidFacts read_cpuid() noexcept {
  CpuidFacts facts;
#if defined(__x86_64__)
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0) facts.leaf1_ecx = ecx;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0) facts.leaf7_ebx = ebx;
  if (has(facts.leaf1_ecx, kOsxsave)) {
    std::uint32_t low = 0;
    std::uint32_t high = 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    facts.xcr0 = (std::uint64_t{high} << 32U) | low;
  }
#endif
  return facts;
}

InstructionSets instruction_sets(const CpuidFacts& facts) noexcept {
  InstructionSets sets;
  sets.avx2 = has(facts.leaf1_ecx, kOsxsave | kAvx) && has(facts.xcr0, kSavesAvx) && has(facts.leaf7_ebx, kAvx2);
  sets.avx512 = sets.avx2 && has(facts.xcr0, kSavesAvx512) && has(facts.leaf7_ebx, kAvx512);
  return sets;
}

}  // namespace godwit
