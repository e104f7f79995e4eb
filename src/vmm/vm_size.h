// Whether a VM is small enough to be described to the other side (base/limits.h).
#pragma once

#include "base/result.h"
#include "vm/fingerprint.h"

namespace godwit {

/// kUnsupported names what it has too many of. Lists that were cut where they are read hold one more than they may.
Status check_size(const Fingerprint& vm);

}  // namespace godwit
