// The report as a person reads it: short, aligned, the pause taken apart in microseconds.
#pragma once

#include <string>

#include "engine/report.h"
#include "engine/sink.h"

namespace godwit {

/// Lines, each with its line end.
std::string render_report(const Report& report);
std::string render_report(const SinkReport& report);

}  // namespace godwit
