// QEMU's migration stream: the numbers of its format, version 3.
//
//   stream   = magic, version, [configuration], section..., EOF
//   section  = type, id, [name, instance, version], content, footer
//   ram      = a row of 64-bit words, page address | flags, each followed by what its flags say
//
// All integers are big-endian. A text is one byte of length and its bytes. Facts from QEMU's docs/devel/migration and
// from streams of 7.2 and 10.0.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.h"

namespace godwit::qemu {

inline constexpr std::uint32_t kStreamMagic = 0x5145564d;  // "QEVM"
inline constexpr std::uint32_t kStreamVersion = 3;         // the only one since 2010

namespace section {
inline constexpr std::uint8_t kEof = 0;
inline constexpr std::uint8_t kStart = 1;          // first content of a part that goes on
inline constexpr std::uint8_t kPart = 2;           // more of it
inline constexpr std::uint8_t kEnd = 3;            // the rest of it, with the guest stopped
inline constexpr std::uint8_t kFull = 4;           // a device's whole state
inline constexpr std::uint8_t kSubsection = 5;     // behind the configuration: an optional piece of it
inline constexpr std::uint8_t kDescription = 6;    // JSON for people, at the end
inline constexpr std::uint8_t kConfiguration = 7;  // the machine type's name
inline constexpr std::uint8_t kCommand = 8;
inline constexpr std::uint8_t kFooter = 0x7e;
}  // namespace section

namespace ram_flag {
inline constexpr std::uint64_t kZero = 0x02;       // one fill byte follows
inline constexpr std::uint64_t kSizes = 0x04;      // "MEM_SIZE": the list of blocks follows
inline constexpr std::uint64_t kPage = 0x08;       // the page follows
inline constexpr std::uint64_t kEndOfPart = 0x10;  // "EOS": the section's content ends
inline constexpr std::uint64_t kContinue = 0x20;   // of the same block as the record before: no name follows
inline constexpr std::uint64_t kAll = 0xfff;       // below the page address
}  // namespace ram_flag

inline constexpr std::uint32_t kRamVersion = 4;       // of the "ram" section, from QEMU 1.x to 10.0
inline constexpr std::size_t kTargetPageSize = 4096;  // x86: the unit in which QEMU sends RAM, huge pages too

/// A big-endian integer at the start of `bytes`, which are at least that long.
template <typename Integer>
Integer load_big_endian(Bytes bytes) noexcept {
  Integer value = 0;
  for (std::size_t i = 0; i < sizeof(Integer); ++i) {
    value = static_cast<Integer>(static_cast<Integer>(value << 8) | static_cast<Integer>(bytes[i]));
  }
  return value;
}

}  // namespace godwit::qemu
