#include "throttle/following_throttle.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/small_files.h"

namespace godwit {

std::vector<std::string> FollowingThrottle::all_threads() const {
  return names_in(fmt::format("{}/{}/task", settings_.paths.proc, qemu_));
}

Status FollowingThrottle::set(double share) {
  if (share < 1) return slow_down(share);
  slowed_.clear();
  share_ = 1;
  return throttle_ ? throttle_->release() : Status{};
}

Status FollowingThrottle::slow_down(double share) {
  const auto before = slowed_;
  add_new_vcpus();
  if (share < share_) add_writers();
  share_ = share;
  // By a way that is possible for all of them, whoever is slowed down first.
  if (!throttle_) throttle_ = TRY(Throttle::make(qemu_, vcpus_, settings_));
  if (slowed_ != before) TRY(throttle_->follow(slowed_));
  return throttle_->set(share);
}

/// Threads of other kinds come and go as well: then it is for nothing that QEMU is asked. What a new vCPU writes is not
/// known yet.
void FollowingThrottle::add_new_vcpus() {
  auto all = all_threads();  // first: whichever comes after it is looked for the next time
  if (all == known_) return;
  const auto threads = vcpu_threads_();
  if (threads.empty()) return;
  known_ = std::move(all);
  const auto before = std::exchange(vcpus_, threads);
  if (slowed_.empty()) return;
  std::ranges::copy_if(threads, std::back_inserter(slowed_),
                       [&](pid_t thread) { return std::ranges::find(before, thread) == before.end(); });
}

void FollowingThrottle::add_writers() {
  for (const pid_t thread : watch_.writers(vcpus_)) {
    if (std::ranges::find(slowed_, thread) == slowed_.end()) slowed_.push_back(thread);
  }
}

}  // namespace godwit
