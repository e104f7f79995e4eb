// Loads every register with a known value, makes a system call or spins, and looks whether they are all still there.
//
// Covers: the general registers, the red zone, xmm/ymm/zmm 0-15 (as wide as the processor has them), an AVX-512 mask
// register and the x87 stack.
#pragma once

#include <cpuid.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace godwit::testing {

struct RegisterTrial {
  std::int64_t number = -1;         //   0: of the system call; -1 spins
  std::uint64_t arguments[6] = {};  //   8
  std::uint64_t spins = 0;          //  56
  std::int64_t returned = 0;        //  64
  std::uint64_t width = 0;          //  72: 0 xmm, 1 ymm, 2 zmm
  std::uint64_t general[15] = {};   //  80: rbx rbp r12-r15 rdi rsi rdx r10 r8 r9 rcx r11 rax, as found after it
  std::uint64_t red_zone[2] = {};   // 200
  std::uint64_t mask = 0;           // 216
  unsigned char x87[16] = {};       // 224
  alignas(64) unsigned char vectors_before[16][64];  // 256
  alignas(64) unsigned char vectors_after[16][64];   // 1280
};
static_assert(offsetof(RegisterTrial, general) == 80 && offsetof(RegisterTrial, red_zone) == 200 &&
              offsetof(RegisterTrial, vectors_before) == 256 && offsetof(RegisterTrial, vectors_after) == 1280);

extern "C" void godwit_test_try_registers(RegisterTrial* trial);

// clang-format off
asm(R"(
  .macro godwit_vectors instruction, register, from, store
    .set number, 0
    .rept 16
      godwit_vector \instruction, \register, %number, \from, \store
      .set number, number + 1
    .endr
  .endm
  .macro godwit_vector instruction, register, number, from, store
    .if \store
      \instruction %\register\number, \from+64*\number(%rdi)
    .else
      \instruction \from+64*\number(%rdi), %\register\number
    .endif
  .endm
  .altmacro
  .pushsection .text
  .weak godwit_test_try_registers
  .type godwit_test_try_registers, @function
godwit_test_try_registers:
  push %rbx
  push %rbp
  push %r12
  push %r13
  push %r14
  push %r15
  pushq 56(%rdi)
  push %rdi
  fldpi
  cmpq $1, 72(%rdi)
  ja 2f
  je 1f
  godwit_vectors movups, xmm, 256, 0
  jmp 3f
1:godwit_vectors vmovups, ymm, 256, 0
  jmp 3f
2:godwit_vectors vmovups, zmm, 256, 0
  movabs $0x1234567890abcdef, %rax
  kmovq %rax, %k1
3:movq $0x11aa, -8(%rsp)
  movq $0x22bb, -128(%rsp)
  movabs $0xb0b0b0b0b0b0b0b1, %rbx
  movabs $0xb0b0b0b0b0b0b0b2, %rbp
  movabs $0xb0b0b0b0b0b0b0b3, %r12
  movabs $0xb0b0b0b0b0b0b0b4, %r13
  movabs $0xb0b0b0b0b0b0b0b5, %r14
  movabs $0xb0b0b0b0b0b0b0b6, %r15
  movabs $0xb0b0b0b0b0b0b0b7, %rcx
  movabs $0xb0b0b0b0b0b0b0b8, %r11
  mov (%rdi), %rax
  mov 16(%rdi), %rsi
  mov 24(%rdi), %rdx
  mov 32(%rdi), %r10
  mov 40(%rdi), %r8
  mov 48(%rdi), %r9
  cmp $-1, %rax
  mov 8(%rdi), %rdi
  je 4f
  syscall
  jmp 5f
4:decq 8(%rsp)
  jnz 4b
5:xchg %rdi, (%rsp)
  mov %rbx, 80(%rdi)
  mov %rbp, 88(%rdi)
  mov %r12, 96(%rdi)
  mov %r13, 104(%rdi)
  mov %r14, 112(%rdi)
  mov %r15, 120(%rdi)
  mov %rsi, 136(%rdi)
  mov %rdx, 144(%rdi)
  mov %r10, 152(%rdi)
  mov %r8, 160(%rdi)
  mov %r9, 168(%rdi)
  mov %rcx, 176(%rdi)
  mov %r11, 184(%rdi)
  mov %rax, 192(%rdi)
  mov %rax, 64(%rdi)
  mov -8(%rsp), %rax
  mov %rax, 200(%rdi)
  mov -128(%rsp), %rax
  mov %rax, 208(%rdi)
  mov (%rsp), %rax
  mov %rax, 128(%rdi)
  fstpt 224(%rdi)
  cmpq $1, 72(%rdi)
  ja 7f
  je 6f
  godwit_vectors movups, xmm, 1280, 1
  jmp 8f
6:godwit_vectors vmovups, ymm, 1280, 1
  vzeroupper
  jmp 8f
7:godwit_vectors vmovups, zmm, 1280, 1
  kmovq %k1, %rax
  mov %rax, 216(%rdi)
  vzeroupper
8:add $16, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbp
  pop %rbx
  ret
  .size godwit_test_try_registers, . - godwit_test_try_registers
  .noaltmacro
  .popsection
)");
// clang-format on

/// Runs the trial; gives the name of what was disturbed, or null.
inline const char* disturbed_by(RegisterTrial& trial, unsigned seed) {
  trial.width = __builtin_cpu_supports("avx512bw") ? 2 : __builtin_cpu_supports("avx2") ? 1 : 0;
  const std::size_t width = std::size_t{16} << trial.width;
  for (unsigned i = 0; i < 16; ++i) {
    for (unsigned j = 0; j < 64; ++j) trial.vectors_before[i][j] = static_cast<unsigned char>(seed + i * 64 + j * 3);
  }
  godwit_test_try_registers(&trial);
  for (unsigned i = 0; i < 6; ++i) {
    if (trial.general[i] != 0xb0b0b0b0b0b0b0b1 + i) return "a general register";
    if (trial.general[6 + i] != trial.arguments[i]) return "an argument register";
  }
  const bool spun = trial.number == -1;
  if (spun && (trial.general[12] != 0xb0b0b0b0b0b0b0b7 || trial.general[13] != 0xb0b0b0b0b0b0b0b8)) {
    return "rcx or r11";
  }
  if (spun && trial.returned != -1) return "rax";
  if (trial.red_zone[0] != 0x11aa || trial.red_zone[1] != 0x22bb) return "the red zone";
  constexpr unsigned char kPi[10] = {0x35, 0xc2, 0x68, 0x21, 0xa2, 0xda, 0x0f, 0xc9, 0x00, 0x40};
  if (std::memcmp(trial.x87, kPi, sizeof kPi) != 0) return "the x87 stack";
  if (trial.width == 2 && trial.mask != 0x1234567890abcdef) return "a mask register";
  for (unsigned i = 0; i < 16; ++i) {
    if (std::memcmp(trial.vectors_before[i], trial.vectors_after[i], width) != 0) return "a vector register";
  }
  return nullptr;
}

}  // namespace godwit::testing
