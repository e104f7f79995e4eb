// What a probe found, for programs: one JSON object (docs/json.md).
#pragma once

#include <string>

#include "app/probe_findings.h"

namespace godwit {

/// Indented, with a line end.
std::string probe_json(const Findings& findings);

}  // namespace godwit
