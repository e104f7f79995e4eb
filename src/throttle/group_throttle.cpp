#include "throttle/group_throttle.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/small_files.h"
#include "throttle/throttle_keeper.h"

namespace godwit {
namespace {

bool thread_is_there(pid_t process, pid_t thread) {
  return ::access(fmt::format("/proc/{}/task/{}", process, thread).c_str(), F_OK) == 0;
}

}  // namespace

GroupThrottle::GroupThrottle(CgroupMount mount, ProcessName qemu, std::vector<pid_t> threads, ThrottleSettings settings)
    : mount_(std::move(mount)), qemu_(qemu), settings_(std::move(settings)), threads_(std::move(threads)) {}

GroupThrottle::~GroupThrottle() {
  const Status released = GroupThrottle::release();
  // What is left is on record.
  (void)released.has_value();
}

ThrottleWay GroupThrottle::way() const noexcept {
  return mount_.version == CgroupVersion::kV2 ? ThrottleWay::kCgroupV2 : ThrottleWay::kCgroupV1;
}

Status GroupThrottle::set(double share) {
  if (!(share > 0 && share <= 1)) return fail(ErrorKind::kInvalidArgument, "a share is above 0 and at most 1");
  share = std::max(share, kLeastShare);
  if (share == share_) return {};
  if (!is_alive(qemu_)) return fail(ErrorKind::kNotFound, fmt::format("process {} has ended", qemu_.pid));
  if (begun_) return change(share);
  const Status begun = begin(share);
  if (begun) return {};
  if (const Status released = release(); !released) {
    return fail(Error(begun.error()).in(fmt::format("{}; and after", released.error().message)));
  }
  return begun;
}

Status GroupThrottle::begin(double share) {
  const std::string file = undo_file_of(settings_.state_folder, qemu_);
  if (const auto left = read_undo_file(file)) {
    if (is_alive(left->engine)) return fail(ErrorKind::kRefused, "another godwit throttles this VM: see " + file);
    TRY_IN("undo what a dead godwit left", undo_file(file));
  } else if (left.error().kind != ErrorKind::kNotFound) {
    return fail(left.error());
  }
  record_ = {};
  record_.boot = boot_id();
  record_.qemu = qemu_;
  record_.engine = TRY(name_process(::getpid()));
  std::erase_if(threads_, [this](pid_t thread) { return !thread_is_there(qemu_.pid, thread); });
  return add(TRY(plan_groups(mount_, qemu_.pid, threads_, settings_.paths)), share);
}

Status GroupThrottle::add(std::vector<ThreadPlan> plans, double share) {
  const std::string name = TRY(new_group_name(qemu_.pid));
  const std::size_t first = groups_.size();
  for (auto& plan : plans) {
    Group group{std::move(plan), {}};
    const std::string& origin = group.plan.origin;
    if (!group.plan.left.empty()) record_.removes.push_back({mount_.version, group.plan.left});
    if (group.plan.in_place) {
      group.folder = origin;
      record_.restores.push_back({mount_.version, group.plan.before, origin});
    } else {
      group.folder = fmt::format("{}/{}-{}", origin, name, groups_.size());
      record_.removes.push_back({mount_.version, group.folder});
    }
    auto& withdrawals = record_.withdrawals;
    if (group.plan.enables_cpu && std::find(withdrawals.begin(), withdrawals.end(), origin) == withdrawals.end()) {
      withdrawals.push_back(origin);
    }
    groups_.push_back(std::move(group));
  }
  TRY(put_on_record());
  share_ = share;
  for (std::size_t i = first; i < groups_.size(); ++i) {
    const Status engaged = engage(groups_[i], share);
    if (engaged || !thread_is_there(qemu_.pid, groups_[i].plan.thread)) continue;
    return fail(Error(engaged.error()).in(fmt::format("throttle thread {}", groups_[i].plan.thread)));
  }
  return {};
}

Status GroupThrottle::put_on_record() {
  const std::string file = undo_file_of(settings_.state_folder, qemu_);
  TRY_IN("put on record how to undo the throttle", write_undo_file(file, record_));
  begun_ = true;
  if (settings_.keeper != nullptr) TRY(settings_.keeper->watch(file));
  return {};
}

/// The limit is there before the thread is: no thread is ever in a group that is not as it should be.
Status GroupThrottle::engage(const Group& group, double share) const {
  if (group.plan.in_place) return limit(group, share);
  if (group.plan.enables_cpu) TRY(write_control_file(group.plan.origin + "/cgroup.subtree_control", "+cpu"));
  if (::mkdir(group.folder.c_str(), 0755) != 0) return fail_os("make " + group.folder);
  if (mount_.version == CgroupVersion::kV2) TRY(write_control_file(group.folder + "/cgroup.type", "threaded"));
  TRY(limit(group, share));
  return move_thread(mount_.version, group.plan.thread, group.folder);
}

Status GroupThrottle::limit(const Group& group, double share) const {
  if (share < 1) return write_quota(mount_.version, group.folder, quota_for(share * group.plan.limit));
  return write_quota(mount_.version, group.folder, group.plan.in_place ? group.plan.before : CpuQuota{});
}

Status GroupThrottle::change(double share) {
  Status result;
  for (const Group& group : groups_) {
    const Status limited = limit(group, share);
    if (!limited && result && thread_is_there(qemu_.pid, group.plan.thread)) result = limited;
  }
  if (result) share_ = share;
  return result;
}

Status GroupThrottle::follow(std::span<const pid_t> vcpu_threads) {
  threads_.assign(vcpu_threads.begin(), vcpu_threads.end());
  if (!begun_) return {};
  std::vector<pid_t> added;
  for (const pid_t thread : threads_) {
    const bool known = std::any_of(groups_.begin(), groups_.end(),
                                   [thread](const Group& group) { return group.plan.thread == thread; });
    if (!known && thread_is_there(qemu_.pid, thread)) added.push_back(thread);
  }
  if (added.empty()) return {};
  return add(TRY(plan_groups(mount_, qemu_.pid, added, settings_.paths)), share_);
}

Status GroupThrottle::release() noexcept {
  if (!begun_) {
    groups_.clear();
    return {};
  }
  TRY_IN("release the throttle", undo(record_));
  const std::string file = undo_file_of(settings_.state_folder, qemu_);
  if (::unlink(file.c_str()) != 0 && errno != ENOENT) return fail_os("remove " + file);
  groups_.clear();
  begun_ = false;
  share_ = 1;
  return {};
}

}  // namespace godwit
