// What a receiver that was started by ssh leaves behind on its host: with the connection its word is lost, and after a
// commit it may be all that tells where the VM is.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/sink.h"

namespace godwit {

/// Where the report of this migration lies in `folder`. Its id is that of a move that this side has seen or made.
std::string left_report_path(const std::string& folder, const std::string& id);

/// Writes the report there, for its owner alone, and removes those that are older than a week. Without an id there is
/// nothing to find it by, and nothing is written.
Status leave_report(const SinkReport& report, const std::string& folder);

/// One that lies there.
struct LeftReport {
  std::string file;
  std::string id;
  std::string vm_name;
  std::string outcome;
  std::string error;         ///< its message; empty if there is none
  std::int64_t written = 0;  ///< seconds since 1970
};

/// Those in `folder`, the newest first. What is not one is left out.
std::vector<LeftReport> left_reports_in(const std::string& folder);

}  // namespace godwit
