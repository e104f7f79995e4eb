// A throttle made of quotas of control groups, of either version.
#pragma once

#include "throttle/group_plan.h"
#include "throttle/throttle.h"
#include "throttle/undo_record.h"

namespace godwit {

class GroupThrottle final : public Throttle {
 public:
  GroupThrottle(CgroupMount mount, ProcessName qemu, std::vector<pid_t> threads, ThrottleSettings settings);
  ~GroupThrottle() override;

  ThrottleWay way() const noexcept override;
  Status set(double share) override;
  Status follow(std::span<const pid_t> vcpu_threads) override;
  Status release() noexcept override;

 private:
  struct Group {
    ThreadPlan plan;
    std::string folder;  ///< that has the limit
  };
  Status begin(double share);
  Status change(double share);
  /// Puts on record how it will be undone, then limits these too.
  Status add(std::vector<ThreadPlan> plans, double share);
  Status put_on_record();
  Status engage(const Group& group, double share) const;
  Status limit(const Group& group, double share) const;

  const CgroupMount mount_;
  const ProcessName qemu_;
  const ThrottleSettings settings_;
  std::vector<pid_t> threads_;
  std::vector<Group> groups_;
  UndoRecord record_;
  bool begun_ = false;
  double share_ = 1;
};

}  // namespace godwit
