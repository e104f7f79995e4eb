// What this process may do, for the one question that a "permission denied" leaves open: what denied it?
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace godwit {

/// Everything that commonly denies a traced process, its memory or its files, as far as it can be told from here.
struct OwnRights {
  bool root = true;                ///< the effective user is 0
  std::vector<std::string> lacks;  ///< capabilities that a move needs and that are not effective
  bool in_user_namespace = false;  ///< root there is not root of the host
  bool ptrace_off = false;         ///< yama's ptrace_scope is 3: nobody may trace, root neither
  bool seccomp = false;            ///< this process runs under a seccomp filter
  bool module_profile = false;     ///< AppArmor or SELinux confines this process
};

/// From the texts of /proc/self/status, /proc/self/uid_map, /proc/sys/kernel/yama/ptrace_scope and
/// /proc/self/attr/current; an empty text says nothing.
OwnRights parse_own_rights(unsigned effective_user, std::string_view status, std::string_view uid_map,
                           std::string_view ptrace_scope, std::string_view profile);

/// Of this process, now.
OwnRights own_rights();

/// What to do where something was denied, in one or two short sentences. `purpose`: what the rights are for, "it opens
/// QEMU's memory".
std::string advice_on_denial(const OwnRights& rights, std::string_view purpose);

}  // namespace godwit
