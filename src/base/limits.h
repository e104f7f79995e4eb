// The largest VM that Godwit takes, in one place. What exceeds one of these is refused by name before anything is
// touched (vmm/vm_size.h, memory/ram_layout.h); a peer that says more is not believed (wire/limits.h).
//
// What bounds the rest, as lanes, messages and texts, is in wire/limits.h, which takes from here what is about the VM.
#pragma once

#include <cstddef>
#include <cstdint>

namespace godwit::most {

/// Main memory, ROMs and video memory together, bytes: chunks of 256 KiB have numbers of 32 bits, and so has the number
/// of chunks itself. x86-64 has physical addresses of 52 bits, which is four times as much.
inline constexpr std::uint64_t kRam = (std::uint64_t{1} << 50) - (std::uint64_t{256} << 10);
/// RAM blocks of all kinds. QEMU has at most 256 memory slots; NUMA nodes, ROMs and video memory come on top.
inline constexpr std::size_t kRamBlocks = 1024;
/// As QEMU's own limit for the name of a RAM block; names of machines, devices and features too.
inline constexpr std::size_t kName = 255;
/// Of RAM that QEMU's stream carries, where devices go by it: ROMs and video memory, bytes.
inline constexpr std::uint64_t kRamOfTheStream = std::uint64_t{64} << 30;
/// vCPUs. QEMU's largest machine has 4096 (q35 of 10.0 under KVM); those of 7.2 have 288.
inline constexpr std::size_t kCpus = 4096;
/// Devices with all that is on their buses, CPUs not counted: a VM has dozens.
inline constexpr std::size_t kDevices = 1024;
/// What the guest has as disks, an image under an overlay not counted.
inline constexpr std::size_t kDisks = 256;

// Of disks that are read past the page cache, whose requests in flight are looked for:
/// virtqueues of a device: virtio has 1024.
inline constexpr std::size_t kQueuesOfADevice = 1024;
/// all of them: a virtqueue a vCPU of 56 disks and 288 vCPUs.
inline constexpr std::size_t kQueues = 16384;
/// entries of a virtqueue, virtio's own limit.
inline constexpr std::size_t kQueueEntries = 32768;

}  // namespace godwit::most
