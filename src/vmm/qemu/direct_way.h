// Whether a VM's devices can be saved by QEMU at our word, or only by its migration.
#pragma once

#include <optional>
#include <string>

#include "vmm/qemu/inspection.h"

namespace godwit::qemu {

/// Why not, as a phrase for the operator; nothing if they can. To be asked at the source; the destination needs no more
/// than its other blocks.
Result<std::optional<std::string>> why_not_directly(Qmp& qmp, const Inspection& inspection);

}  // namespace godwit::qemu
