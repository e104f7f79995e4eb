// The limits of the wire format, as spec.md states them. Whatever a peer sends is checked against these first. Those
// that are about the VM are the largest VM's (base/limits.h).
#pragma once

#include <cstddef>

#include "base/limits.h"

namespace godwit::wire {

/// Chunks in one DataMap: 16 GiB of guest RAM, half a megabyte of words.
inline constexpr std::size_t kMaxMapWords = 65536;
/// One DeviceBytes: a heartbeat never waits long behind it, even at 100 Mbit/s (80 ms).
inline constexpr std::size_t kMaxDeviceBytes = 1024 * 1024;
/// One PackedDevices, before and after: a codec's longest block.
inline constexpr std::size_t kMaxPackedDevices = 256 * 1024;
inline constexpr std::size_t kPackedHeader = 8;

inline constexpr std::size_t kMaxNameBytes = most::kName;
/// QEMU has about 50 feature words.
inline constexpr std::size_t kMaxCpuFeatures = 256;
inline constexpr std::size_t kMaxBlocks = most::kRamBlocks;
inline constexpr std::size_t kMaxDevices = most::kDevices;
/// Of a device: QEMU's have some sixty.
inline constexpr std::size_t kMaxProperties = 256;
inline constexpr std::size_t kMaxCpuPlaces = most::kCpus;
inline constexpr std::size_t kMaxDisks = most::kDisks;
/// A disk's file name or address, longer ones are cut by the sender.
inline constexpr std::size_t kMaxFileBytes = 512;
inline constexpr std::size_t kMaxSamples = 64;
/// Images under one overlay.
inline constexpr std::size_t kMaxLayers = 64;
inline constexpr std::size_t kMaxWarnings = 64;
inline constexpr std::size_t kMaxProgramBytes = 256;
inline constexpr std::size_t kMaxKindBytes = 64;
/// A few sentences, one per difference of two fingerprints.
inline constexpr std::size_t kMaxReasonBytes = 4096;

/// Lanes of one migration: more than any link has use for.
inline constexpr std::size_t kMaxLanes = 64;

/// Hello and Welcome: a fingerprint has some 20 KiB, that of a machine with a thousand devices and CPUs about 1 MiB.
inline constexpr std::size_t kMaxHelloBody = 2 * 1024 * 1024;
/// Refusal and Abort: the reason, each of its bytes escaped.
inline constexpr std::size_t kMaxReasonBody = 64 * 1024;
inline constexpr std::size_t kMaxDoneBody = 4096;
/// Ours have 4 levels. Bounds what a body of nothing but brackets costs.
inline constexpr std::size_t kMaxJsonDepth = 8;

}  // namespace godwit::wire
