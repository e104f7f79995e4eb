// What xen-save-devices-state writes, made into a stream that an ordinary incoming migration takes.
//
//   the file:    magic, version,                section..., EOF
//   the stream:  magic, version, configuration, section..., EOF, description (empty)
//
// The sections are the devices, whole; RAM is not among them. See stream_format.h for the numbers.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace godwit::qemu {

/// The stream's beginning, which depends on the machine type ("pc-i440fx-10.0", no alias) alone and can be sent before
/// anything has been saved.
std::vector<std::byte> stream_beginning(std::string_view machine);

/// The sections in what QEMU has saved, without their beginning. kHypervisor if it is not whole or of another kind:
/// nothing that the destination's QEMU should see.
Result<Bytes> saved_sections(Bytes file);

/// The guest's virtual clock in what QEMU has saved, in nanoseconds: it stops while the guest is paused, and
/// goes on as soon as it runs. Nothing where it is not found.
std::optional<std::uint64_t> virtual_clock_in(Bytes file);

/// What the destination's QEMU reads behind the sections.
std::vector<std::byte> stream_end();

}  // namespace godwit::qemu
