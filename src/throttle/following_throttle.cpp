#include "throttle/following_throttle.h"

#include <fmt/format.h>

#include "base/small_files.h"

namespace godwit {

std::vector<std::string> FollowingThrottle::all_threads() const {
  return names_in(fmt::format("{}/{}/task", settings_.paths.proc, qemu_));
}

Status FollowingThrottle::set(double share) {
  if (share >= 1) return throttle_ ? throttle_->release() : Status{};
  if (throttle_) {
    TRY(follow());
    return throttle_->set(share);
  }
  known_ = all_threads();  // first: whichever comes after it is looked for the next time
  throttle_ = TRY(Throttle::make(qemu_, vcpu_threads_(), settings_));
  return throttle_->set(share);
}

/// Threads of other kinds come and go as well: then it is for nothing that QEMU is asked.
Status FollowingThrottle::follow() {
  auto all = all_threads();
  if (all == known_) return {};
  const auto threads = vcpu_threads_();
  if (threads.empty()) return {};
  known_ = std::move(all);
  return throttle_->follow(threads);
}

}  // namespace godwit
