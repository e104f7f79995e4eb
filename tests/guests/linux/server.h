// The guest's TCP service: a line in, a line out, on connections that are meant to live for hours.
//
//   client --> "ping 17"                       guest --> "ok seq=17 errors=0 passes=3 writes=4711 uptime_ms=..."
//   client --> "verify"       (waits)          guest --> the same line, after one whole pass over all memory
//   client --> "load inplace 2000"             guest --> the same line, with the new load
//   client --> "load redis 1000"               guest --> the same line, with redis under SETs from now on
//   client --> "renew inplace" (waits)         guest --> the same line, after all that loads rewrite was made again
//   client --> "hints on"                      guest --> the same line, once the balloon tells QEMU of free pages
//   client --> "hints off"                     guest --> the same line, once there is no balloon driver
//   client --> "free"         (waits)          guest --> the same line, after memory was filled and freed again
//
// `seq` counts the lines of this connection, so a connection that was replaced by another is noticed; `boot` tells one
// guest from another.
#pragma once

#include <cstdint>

#include "checker.h"

namespace godwit::guest {

/// Serves until the end of time. Returns only if it cannot listen.
void serve(std::uint16_t port, Checker& checker);

}  // namespace godwit::guest
