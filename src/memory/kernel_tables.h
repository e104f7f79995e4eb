// The tables of all instruction sets, for kernels.cpp only: everybody else asks for what the host can run.
//
// A file compiled for one instruction set must call nothing inline that other files call too: the linker keeps one copy
// of such a function, perhaps the one that this host cannot run. So those files use intrinsics and their own code only,
// and what they share (kernel_loops.h) each has a copy of.
#pragma once

#include "memory/kernels.h"

namespace godwit {

extern const Kernels kPlainKernels;
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;

}  // namespace godwit
