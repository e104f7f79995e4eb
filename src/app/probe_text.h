// What a probe found, for people.
#pragma once

#include <string>

#include "app/probe_findings.h"

namespace godwit {

/// Lines, each with its line end.
std::string probe_text(const Findings& findings);

}  // namespace godwit
