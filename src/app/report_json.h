// The report for programs: one JSON object (docs/json.md).
//
// Keys are the field names of engine/report.h and engine/sink.h, durations as whole microseconds in *_us; `type` tells
// a report from a line of progress; `outcome` by its name; `error` is null or {kind, message}.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "engine/report.h"
#include "engine/sink.h"

namespace godwit {

/// Indented, with a line end. `receiver`: the destination's own report, where that has come back from there, as a JSON
/// object; anything else is none.
std::string report_json(const Report& report, std::string_view receiver = {});
std::string report_json(const SinkReport& report);

/// Writes it to a file, replacing what was there; "-" is stdout.
Status write_report_json(const Report& report, const std::string& path, std::string_view receiver = {});
Status write_report_json(const SinkReport& report, const std::string& path);
/// Adds a line to a file.
Status append_report_json(const SinkReport& report, const std::string& path);

}  // namespace godwit
