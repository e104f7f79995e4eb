// A seccomp filter that denies system calls which Godwit never makes once it is at work.
//
// A list of what is denied, not of what is allowed: a library's next version may make a new harmless call, and a guest
// that is paused must not depend on that. What is on the list fails with EPERM and kills nothing.
#pragma once

#include <span>

namespace godwit {

/// The calls that fail with EPERM, by their numbers on x86-64. Beside them: clone() with a new namespace, every call of
/// another architecture (32-bit, x32); clone3() says ENOSYS, because a filter cannot see its flags, and C libraries
/// then call clone().
std::span<const int> denied_calls() noexcept;

/// On all threads of this process, for good; sets no_new_privs. 0, or errno: ENOSYS, EINVAL where the kernel has no
/// seccomp filters. System calls only: right after fork, too.
int deny_calls() noexcept;

}  // namespace godwit
