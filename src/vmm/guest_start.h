// When a guest's start at the sink reached each of its steps: where the time went if it took long.
#pragma once

#include "base/clock.h"

namespace godwit {

struct GuestStart {
  Instant asked;    ///< the engine asked for it
  Instant sent;     ///< the command was about to be written to the hypervisor
  Instant resumed;  ///< the guest runs: by the hypervisor's own clock, where it tells
  Instant heard;    ///< the engine knew
};

}  // namespace godwit
