// CPUs: how many this process may use, and which instruction sets they have and the operating system saves.
#pragma once

#include <cstdint>

namespace godwit {

/// The CPUs that this process may run on, by its affinity mask; at least 1.
unsigned usable_cpus() noexcept;

/// What CPUID and XGETBV say; the registers that matter here.
struct CpuidFacts {
  std::uint32_t leaf1_ecx = 0;
  std::uint32_t leaf7_ebx = 0;  ///< subleaf 0; 0 where there is no leaf 7
  std::uint64_t xcr0 = 0;       ///< 0 without OSXSAVE
};

struct InstructionSets {
  bool avx2 = false;
  bool avx512 = false;  ///< F, BW, VL and DQ
};

/// Of this CPU; all zero where it is not x86-64.
CpuidFacts read_cpuid() noexcept;
InstructionSets instruction_sets(const CpuidFacts& facts) noexcept;

}  // namespace godwit
