#include "tracking/tracking_trial.h"

#include <fmt/format.h>

#include "base/units.h"
#include "tracking/page_scanner.h"
#include "tracking/write_protection.h"

namespace godwit {

Status try_tracking(const RemoteProcess& process, std::uint64_t address, std::uint64_t page_size,
                    DescriptorLender* lender) {
  PageScanner scanner = TRY(PageScanner::open(process));
  WriteProtection protection = TRY(WriteProtection::create(process, lender));
  Status status = protection.cover(address, page_size);
  if (status) status = scanner.arm(address, page_size);
  if (status || status.error().kind == ErrorKind::kPeerLost || status.error().kind == ErrorKind::kRefused) {
    return status;
  }
  return fail(ErrorKind::kUnsupported, fmt::format("this kernel cannot track what is written in pages of {} ({})",
                                                   format_size(page_size), status.error().message));
}

}  // namespace godwit
