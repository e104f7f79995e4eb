// What each codec level does to each block of a corpus, on this machine.
#pragma once

#include <array>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "lane_simulation.h"

namespace godwit::bench {

/// Every level on every block of kBlock bytes: the least of three tries, the levels taking turns, in the thread's CPU
/// time. kProtocol if a block does not come back as it was.
Result<std::vector<simulation::Block>> measure_levels(Bytes corpus);

/// What a block costs each level beside its bytes: the time for a single page, less what its bytes take at `blocks`'
/// rate.
Result<std::array<double, kCodecLevels>> measure_ns_per_block(Bytes corpus, std::span<const simulation::Block> blocks);

/// CPU time of a thread that writes into a TCP connection over loopback, per byte: the median of several connections.
Result<double> measure_send_ns_per_byte(Bytes corpus);

/// CPU time per byte to copy a block into a lane's buffer.
double measure_copy_ns_per_byte(Bytes corpus);

}  // namespace godwit::bench
