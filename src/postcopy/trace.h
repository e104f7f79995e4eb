// Where a guest's missing pages are to be found again by another process: written down as text, and followed.
//
//   {"userfaultfd": its number in the hypervisor, "ranges": [{"name", "address", "length", "first_chunk", "file"}]}
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "postcopy/uffd_missing_pages.h"

namespace godwit {

/// `userfaultfd`: its number in the hypervisor.
std::string trace_of(const std::vector<MissingRange>& ranges, int userfaultfd);

struct Traced {
  std::vector<MissingRange> ranges;
  RemoteUserfaultfd userfault;
};
/// kRefused where the process does not have it (any more).
Result<Traced> follow_trace(const RemoteProcess& process, std::string_view trace);

}  // namespace godwit
