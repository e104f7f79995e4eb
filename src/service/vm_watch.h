// Watches a running VM for some seconds without moving or pausing it, for a forecast: tracks what the guest writes, at
// short and at long intervals, and tries what its memory would cost to send.
//
//   open, track, look for data -> [harvest | try chunks until the next is due] -> stop tracking -> ForecastInput
#pragma once

#include "engine/forecast.h"
#include "service/send_job.h"

namespace godwit {

struct WatchRequest {
  OpenSource open;
  Goals goals;
  BitRate bandwidth;  ///< what the link takes
  Duration length = std::chrono::seconds(5);
  std::string kernels;  ///< SIMD table by name; empty: the fastest
};

struct WatchedVm {
  ForecastInput input;
  std::string name;
  std::uint64_t ram_bytes = 0;
  std::uint64_t data_bytes = 0;   ///< that would be copied
  std::uint64_t free_bytes = 0;   ///< that the guest has free, and that would not
  std::uint64_t pages_tried = 0;  ///< of memory as it is, and of what was written meanwhile
  std::uint64_t pages_tried_again = 0;
  std::string devices;  ///< "direct" or "stream"
};

/// Blocks for `length` and a little. Whatever happens, nothing is left behind in the VM when it returns.
Result<WatchedVm> watch_vm(const WatchRequest& request, const HostProfile& host, const JobContext& context);

}  // namespace godwit
