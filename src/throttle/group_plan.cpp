#include "throttle/group_plan.h"

#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>

#include "base/small_files.h"
#include "throttle/undo_record.h"

namespace godwit {
namespace {

// KERNEL: controllers that groups of threads may have; with others enabled a group has no threads of its own.
constexpr std::array<std::string_view, 4> kThreadedControllers{"cpu", "cpuset", "perf_event", "pids"};

std::string parent_of(const std::string& folder) {
  return folder.substr(0, folder.rfind('/'));
}

std::string text_in(const std::string& folder, const char* file) {
  return read_small_file(folder + file).value_or("");
}

/// Quotas hold for the fair scheduling class only.
Status check_scheduling(pid_t thread) {
  const int policy = ::sched_getscheduler(thread);
  if (policy < 0) return fail_os(fmt::format("look at thread {}", thread));
  if (policy == SCHED_OTHER || policy == SCHED_BATCH || policy == SCHED_IDLE) return {};
  return fail(ErrorKind::kUnsupported,
              fmt::format("thread {} is a real-time thread, which quotas do not limit", thread));
}

bool is_only_for(CgroupVersion version, const std::string& folder, pid_t thread) {
  const auto threads = threads_in(version, folder);
  return threads && *threads == std::vector<pid_t>{thread} && groups_below(folder).empty();
}

/// The least of the group's own limit and those above.
double limit_of(const CgroupMount& mount, std::string folder) {
  double limit = 1;
  while (true) {
    const auto quota = read_quota(mount.version, folder);
    if (quota) limit = std::min(limit, quota->cpus().value_or(1));
    if (folder.size() <= mount.at.size()) return limit;
    folder = parent_of(folder);
  }
}

/// Whether a group of threads can be made below a group of version 2, which is then the root of a threaded subtree.
Status check_threaded_below(const CgroupMount& mount, const std::string& origin) {
  if (!has_word(text_in(origin, "/cgroup.controllers"), "cpu")) {
    return fail(ErrorKind::kUnsupported, "the cpu controller is not enabled for the control group of QEMU");
  }
  if (is_root_group(mount, origin)) return {};
  const std::string type = text_in(origin, "/cgroup.type");
  if (type == "threaded" || type == "domain threaded") return {};
  if (type != "domain") {
    return fail(ErrorKind::kUnsupported, fmt::format("the control group of QEMU is of type '{}'", type));
  }
  std::string enabled = text_in(origin, "/cgroup.subtree_control") + " ";
  for (std::size_t space = 0; (space = enabled.find(' ')) != std::string::npos; enabled.erase(0, space + 1)) {
    const auto word = enabled.substr(0, space);
    if (word.empty() || std::ranges::find(kThreadedControllers, word) != kThreadedControllers.end()) continue;
    return fail(ErrorKind::kUnsupported, fmt::format("groups below that of QEMU have the {} controller", word));
  }
  for (const auto& below : groups_below(origin)) {
    const bool domain = text_in(below, "/cgroup.type").starts_with("domain");
    if (domain && text_in(below, "/cgroup.events").find("populated 1") != std::string::npos) {
      return fail(ErrorKind::kUnsupported, "there are other processes in groups below that of QEMU");
    }
  }
  return {};
}

Status plan_group_below(const CgroupMount& mount, ThreadPlan& plan) {
  if (::access(plan.origin.c_str(), W_OK) != 0) return fail_os("write to " + plan.origin);
  if (mount.version == CgroupVersion::kV1) return {};
  TRY(check_threaded_below(mount, plan.origin));
  plan.enables_cpu = !has_word(text_in(plan.origin, "/cgroup.subtree_control"), "cpu");
  return {};
}

Status plan_in_place(const CgroupMount& mount, ThreadPlan& plan) {
  const char* const file = mount.version == CgroupVersion::kV2 ? "/cpu.max" : "/cpu.cfs_quota_us";
  if (::access((plan.origin + file).c_str(), W_OK) != 0) return fail_os("write to " + plan.origin + file);
  plan.before = TRY(read_quota(mount.version, plan.origin));
  if (is_throttled(plan.before)) {
    return fail(ErrorKind::kRefused, "another godwit has throttled " + plan.origin);
  }
  plan.in_place = true;
  return {};
}

Result<ThreadPlan> plan_thread(const CgroupMount& mount, pid_t qemu, pid_t thread, const HostPaths& paths) {
  TRY(check_scheduling(thread));
  ThreadPlan plan{.thread = thread};
  plan.origin = TRY(cgroup_folder_of(mount, qemu, thread, paths));
  std::error_code error;
  if (!std::filesystem::is_directory(plan.origin, error)) {
    return fail(ErrorKind::kUnsupported, fmt::format("{} cannot be seen from here", plan.origin));
  }
  if (is_group_of_ours(plan.origin)) {
    plan.left = plan.origin;
    plan.origin = parent_of(plan.origin);
  }
  plan.limit = limit_of(mount, plan.origin);
  const bool alone =
      plan.left.empty() && !is_root_group(mount, plan.origin) && is_only_for(mount.version, plan.origin, thread);
  TRY(alone ? plan_in_place(mount, plan) : plan_group_below(mount, plan));
  return plan;
}

}  // namespace

Result<std::vector<ThreadPlan>> plan_groups(const CgroupMount& mount, pid_t qemu, const std::vector<pid_t>& threads,
                                            const HostPaths& paths) {
  std::vector<ThreadPlan> plans;
  for (const pid_t thread : threads) plans.push_back(TRY(plan_thread(mount, qemu, thread, paths)));
  return plans;
}

}  // namespace godwit
