// The kernel's capabilities, and how a thread gives up those that it does not need.
//
// Capabilities are a thread's own. Everything here is a few system calls without allocation: also right in a child
// after fork and in a signal handler.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace godwit {

/// Those that some part of Godwit needs, by their numbers in linux/capability.h.
enum class Capability : unsigned {
  kDacOverride = 1,         ///< sockets, files and /proc entries of QEMU's user
  kKill = 5,                ///< signals to processes of another user
  kNetBindService = 10,     ///< ports below 1024
  kNetAdmin = 12,           ///< socket buffers larger than the system's limit
  kSysPtrace = 19,          ///< memory, descriptors and threads of another process
  kSysAdmin = 21,           ///< reading another process's seccomp filters
  kCheckpointRestore = 40,  ///< /proc/PID/map_files
};

class CapabilitySet {
 public:
  constexpr CapabilitySet() = default;
  constexpr explicit CapabilitySet(std::uint64_t bits) : bits_(bits) {}
  template <typename... Rest>
  constexpr explicit CapabilitySet(Capability first, Rest... rest) : bits_((bit(first) | ... | bit(rest))) {}

  constexpr CapabilitySet with(Capability one) const { return CapabilitySet(bits_ | bit(one)); }
  constexpr bool has(unsigned number) const { return number < 64 && (bits_ >> number & 1) != 0; }
  constexpr bool contains(CapabilitySet other) const { return (other.bits_ & ~bits_) == 0; }
  constexpr std::uint64_t bits() const { return bits_; }
  constexpr bool operator==(const CapabilitySet&) const = default;

 private:
  static constexpr std::uint64_t bit(Capability one) { return std::uint64_t{1} << static_cast<unsigned>(one); }
  std::uint64_t bits_ = 0;
};

/// Of this thread: what is not in `kept` is given up for good: permitted, effective, inheritable and ambient at once,
/// and the bounding set where the thread may still change it. Sets no_new_privs, so that no program that is executed
/// later brings anything back. What the thread does not have is not gained. 0, or errno of the first call that failed
/// (the rest has been tried all the same).
int limit_this_thread(CapabilitySet kept) noexcept;

/// What a /proc/.../status says of a thread: whether it has nothing outside of `kept` and has no_new_privs.
bool is_limited(std::string_view status, CapabilitySet kept);

}  // namespace godwit
