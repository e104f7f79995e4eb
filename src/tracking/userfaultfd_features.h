// Features of userfaultfd that this program needs and that <linux/userfaultfd.h> of older distributions lacks.
#pragma once

#include <cstdint>

namespace godwit {

/// KERNEL: Linux 5.19. Write-protection of shared memory and huge pages too.
inline constexpr std::uint64_t kWriteProtectShared = std::uint64_t{1} << 12;
/// KERNEL: Linux 6.4. Write-protection of pages that do not exist yet, so that reading one does not count as writing.
inline constexpr std::uint64_t kWriteProtectUnpopulated = std::uint64_t{1} << 13;
/// KERNEL: Linux 6.7. A write to a protected page lifts the protection in the kernel; nobody has to answer.
inline constexpr std::uint64_t kWriteProtectAsync = std::uint64_t{1} << 15;

}  // namespace godwit
