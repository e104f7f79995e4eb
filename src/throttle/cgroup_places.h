// Where the control groups are, as this process sees them, and which of them threads are in.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "host/host_profile.h"
#include "throttle/cpu_quota.h"

namespace godwit {

/// A mounted hierarchy of groups.
struct CgroupMount {
  CgroupVersion version = CgroupVersion::kV2;
  std::string root;  ///< of the hierarchy, what is mounted: "/", or a container's group
  std::string at;    ///< the folder it is mounted on
};

/// Of a mountinfo's text: version 1 with the cpu controller, and version 2, which may have it.
std::vector<CgroupMount> cgroup_mounts_in(std::string_view mountinfo);
/// As this process sees them.
std::vector<CgroupMount> cgroup_mounts(const HostPaths& paths);

/// The folder of the group that the thread is in. kUnsupported where it is outside what is mounted, kNotFound if the
/// thread has ended.
Result<std::string> cgroup_folder_of(const CgroupMount& mount, pid_t process, pid_t thread, const HostPaths& paths);

/// The hierarchy's first group, which cannot be limited.
bool is_root_group(const CgroupMount& mount, const std::string& folder);

/// The threads in a group itself, without those in groups below.
Result<std::vector<pid_t>> threads_in(CgroupVersion version, const std::string& folder);
/// Puts a thread into a group. kNotFound if it has ended.
Status move_thread(CgroupVersion version, pid_t thread, const std::string& folder);
/// The groups right below, as paths.
std::vector<std::string> groups_below(const std::string& folder);
/// Of a text such as "cpu io memory".
bool has_word(std::string_view text, std::string_view word);

}  // namespace godwit
