// The socket over which QEMU's migration stream runs between QEMU and this process.
#pragma once

#include "vmm/qemu/qmp.h"

namespace godwit::qemu {

/// What QEMU knows it by.
inline constexpr std::string_view kStreamSocketName = "godwit-stream";

struct StreamSocket {
  UniqueFd ours;
  UniqueFd theirs;  ///< a copy of QEMU's end: while it is open nobody reads an end of the stream
};

/// A socket pair, of which QEMU knows nothing yet. What we write has a large buffer; what QEMU writes a small one: what
/// lies in it QEMU takes for sent.
Result<StreamSocket> make_stream_socket();
/// The same, and QEMU has got its end under `name`: migrate to or from "fd:NAME".
Result<StreamSocket> give_stream_socket(Qmp& qmp, std::string_view name);

/// From now on QEMU can write some megabytes ahead. Closes the copy of its end.
void widen(UniqueFd& theirs) noexcept;

/// Takes a descriptor back that QEMU has got and not used; nothing happens if it has.
void withdraw_stream_socket(Qmp& qmp, std::string_view name) noexcept;

}  // namespace godwit::qemu
