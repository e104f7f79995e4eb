#include "app/descriptors.h"

#include <fmt/format.h>
#include <sys/resource.h>

namespace godwit {

namespace {
// Strangers that are greeted, and lanes of those that have no place (src/engine/greeter.cpp, broker.cpp).
constexpr std::uint64_t kStrangers = 256 + 256;
// More lanes than `send` opens by itself; QEMU's monitor, process, memory and log, a journal, the stream; sources that
// wait for the place.
constexpr std::uint64_t kPerVm = 16 + 24 + 4;
constexpr std::uint64_t kOwn = 64;
}  // namespace

std::uint64_t descriptors_for(unsigned vms_at_once) noexcept {
  return kOwn + kStrangers + vms_at_once * kPerVm;
}

Status allow_descriptors(std::uint64_t needed) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return fail_os("getrlimit");
  if (limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    (void)::setrlimit(RLIMIT_NOFILE, &limit);
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return fail_os("getrlimit");
  }
  if (limit.rlim_cur >= needed) return {};
  return fail(ErrorKind::kInvalidArgument,
              fmt::format("this process may have {} files and connections open, and needs up to {}: raise the limit "
                          "(LimitNOFILE=, ulimit -n), or take in fewer VMs side by side (--at-once)",
                          limit.rlim_cur, needed));
}

}  // namespace godwit
