// What a receiver that was started by ssh leaves behind on its host: with the connection its word is lost, and after a
// commit it may be all that tells where the VM is.
#pragma once

#include <string>

#include "engine/sink.h"

namespace godwit {

/// Where the report of this migration lies in `folder`. Its id is that of a move that this side has seen or made.
std::string left_report_path(const std::string& folder, const std::string& id);

/// Writes the report there, for its owner alone, and removes those that are older than a week. Without an id there is
/// nothing to find it by, and nothing is written.
Status leave_report(const SinkReport& report, const std::string& folder);

}  // namespace godwit
