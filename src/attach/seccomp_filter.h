// What a seccomp filter says to a system call, found out without making the call.
//
// Pure: an interpreter of the classic BPF programs that the kernel runs, on values. seccomp_look.h fetches them from a
// process.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace godwit {

/// One instruction of a filter, as the kernel hands it out.
struct FilterInstruction {
  std::uint16_t code = 0;
  std::uint8_t jump_true = 0;
  std::uint8_t jump_false = 0;
  std::uint32_t constant = 0;
};
static_assert(sizeof(FilterInstruction) == 8);
using FilterProgram = std::vector<FilterInstruction>;

/// The words that a filter looks at.
struct FilteredCall {
  std::int32_t number = 0;
  std::uint32_t architecture = 0;
  std::uint64_t instruction_pointer = 0;
  std::array<std::uint64_t, 6> arguments{};
};
static_assert(sizeof(FilteredCall) == 64);

/// What becomes of the call, from bad to good. Of several filters the worst counts.
enum class FilterVerdict {
  kKills,    ///< the process, the thread, or by SIGSYS
  kDenies,   ///< the call returns an error, or waits for a supervisor who may say so
  kUnknown,  ///< the kernel would not run the program
  kAllows,
};

struct FilterAnswer {
  FilterVerdict verdict = FilterVerdict::kAllows;
  int error = 0;  ///< errno, where it denies with one
};

/// All the filters of a process, which are run for each call.
FilterAnswer ask_filters(std::span<const FilterProgram> filters, const FilteredCall& call);

/// A 64-bit x86 call, as all are that are made from here.
FilteredCall filtered_call(long number, const std::array<std::uint64_t, 6>& arguments,
                           std::uint64_t instruction_pointer);

}  // namespace godwit
