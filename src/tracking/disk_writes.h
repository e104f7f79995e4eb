// The O_DIRECT hazard: a disk read in flight writes guest memory without a page fault when its data lands.
//
// PAGEMAP_SCAN reports the page when the request pins it; a scan in between re-arms the page, and the landing is not
// reported. So after each scan the tracker asks which pages requests in flight may still write, and posts those again
// with the next harvest.
#pragma once

#include <vector>

#include "base/result.h"
#include "memory/page_list.h"

namespace godwit {

/// Finds pages that device requests in flight may still write.
class DiskWrites {
 public:
  virtual ~DiskWrites() = default;
  /// Every page that a request in flight at the time of the call may write; may name too many, never too few.
  virtual Result<std::vector<PagesOfChunk>> in_flight() = 0;
};

}  // namespace godwit
