// The socket over which QEMU's migration stream runs between QEMU and this process.
#pragma once

#include "vmm/qemu/qmp.h"

namespace godwit::qemu {

/// What QEMU knows it by.
inline constexpr std::string_view kStreamSocketName = "godwit-stream";

/// A socket pair with a large buffer in both directions, whose other end QEMU has got under `name`: migrate to or from
/// "fd:NAME". Gives our end.
Result<UniqueFd> give_stream_socket(Qmp& qmp, std::string_view name);

/// Takes a descriptor back that QEMU has got and not used; nothing happens if it has.
void withdraw_stream_socket(Qmp& qmp, std::string_view name) noexcept;

}  // namespace godwit::qemu
