// Whether a VM that is offered may go on where another one waits: all that is compared, in one answer.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "vm/fingerprint.h"

namespace godwit {

/// What the operator has said may differ.
struct Lenience {
  bool any_vm = false;     ///< another uuid, another name
  bool any_disks = false;  ///< disks that are not the same disks
};

struct Fit {
  std::vector<std::string> refusals;  ///< empty: it fits
  std::vector<std::string> warnings;  ///< for both operators
};

/// Reads at the sink what the source's samples of a disk are to be compared with.
using MatchSamples = std::function<DiskMatch(const Disk& source, const Disk& sink)>;

Fit fit(const Fingerprint& source, const Fingerprint& sink, const Lenience& lenience, const MatchSamples& match);

/// Another VM: uuid and name, where both sides have one.
std::vector<std::string> identity_differences(const Fingerprint& source, const Fingerprint& sink);

}  // namespace godwit
