// The events by which QEMU tells that somebody works on the VM. For the stretch in which QEMU cannot be asked: from the
// beginning of a hand-over to the commit.
#pragma once

#include <string>
#include <string_view>

#include "vmm/qemu/qmp.h"

namespace godwit::qemu {

/// What an event says has changed, as a phrase; empty where it says nothing of the kind.
std::string change_told_by(std::string_view event, const Json& data);

}  // namespace godwit::qemu
