// Whether a stopped process may make a system call: looked up in its seccomp filters before the call is made in it,
// because a filter may kill the process, and with it the guest, for a call that its own program never makes.
//
// The filter is not suspended (PTRACE_O_SUSPEND_SECCOMP), though a tracer could: the suspension ends with the tracer,
// and a tracer that dies between would leave a thread that makes the forbidden call by itself.
#pragma once

#include <span>

#include "attach/ptrace_session.h"
#include "attach/seccomp_filter.h"

namespace godwit {

/// kRefused, and says how, if a filter of the process held by `session` does not allow each of the calls, or if nobody
/// can tell. Nothing is called.
Status check_filters_allow(const PtraceSession& session, const RemoteProcess& process,
                           std::span<const FilteredCall> calls);

}  // namespace godwit
