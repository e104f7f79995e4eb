// What a probe found, for people.
#pragma once

#include <string>

#include "app/probe_findings.h"

namespace godwit {

/// Lines, each with its line end.
std::string probe_text(const Findings& findings);
/// Of these the part that is there where the VM could not be looked at; empty if there is none.
std::string moves_by_ssh_text(const std::vector<LeftReport>& moves);

}  // namespace godwit
