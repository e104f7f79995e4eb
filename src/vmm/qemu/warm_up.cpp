#include "vmm/qemu/warm_up.h"

#include <sys/uio.h>

#include <array>

namespace godwit::qemu {

namespace {
// KERNEL: a read fault maps the cached pages of the aligned 64 KiB around it too (fault_around_bytes).
constexpr unsigned kMappedAtOnce = 16;
constexpr PageWord kOneGroup = (PageWord{1} << kMappedAtOnce) - 1;
}  // namespace

void warm_up(const RemoteProcess& process, std::uint64_t address, PageWord pages) noexcept {
  std::array<iovec, kPagesPerChunk / kMappedAtOnce> there;
  std::array<std::byte, there.size()> bytes;
  std::size_t count = 0;
  for (unsigned first = 0; first < kPagesPerChunk; first += kMappedAtOnce) {
    const PageWord group = pages & (kOneGroup << first);
    if (group == 0) continue;
    // An address in the other process, never used as a pointer here.
    const std::uint64_t page = address + static_cast<unsigned>(std::countr_zero(group)) * kPageSize;
    there[count++] = {reinterpret_cast<void*>(page), 1};
  }
  const iovec here{bytes.data(), count};
  if (count != 0) (void)::process_vm_readv(process.pid(), &here, 1, there.data(), count, 0);
}

}  // namespace godwit::qemu
