// Randomness that nobody can guess: for secrets and keys.
#pragma once

#include "base/bytes.h"
#include "base/result.h"

namespace godwit {

/// Fills `out`. Fails as getrandom(2) does.
Status fill_with_random(MutableBytes out);

}  // namespace godwit
