// Limits every thread of this process at once, as glibc does it for setuid().
//
//   caller: itself; then a signal to each thread that has more --handler: limit_this_thread()--> until /proc says so of
//   all
//
// The kernel changes capabilities only of the thread that asks. A thread that keeps them keeps them for all, because
// threads can write into each other's memory.
#pragma once

#include "base/capabilities.h"
#include "base/clock.h"
#include "base/result.h"

namespace godwit {

/// limit_this_thread() on every thread; those made later inherit it. System calls that wait may return EINTR once in
/// other threads. kTimedOut if a thread did not come to it within `patience` (it hangs in the kernel), kIo with the
/// reason of the calling thread.
Status limit_every_thread(CapabilitySet kept, Duration patience = std::chrono::seconds(2));

}  // namespace godwit
