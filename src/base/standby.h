// What a process does that was forked to outlive its parent, and to put in order what that leaves.
#pragma once

namespace godwit {

/// Where be_on_standby() puts the descriptor.
constexpr int kStandbySocket = 3;

/// For a child right after fork(2): its own session, no signals that end the parent's group or terminal, and nothing
/// open except /dev/null and `socket`, as kStandbySocket. `name` as ps shows it; 15 bytes at most. System calls only.
void be_on_standby(int socket, const char* name) noexcept;

}  // namespace godwit
