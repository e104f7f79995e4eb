// Progress as text: pure functions of a Progress. progress_view.h decides which of them goes where, and when.
//
// The JSON object of a line (docs/json.md has the same list):
//   type "progress", id or null, phase, elapsed_us, ram_bytes, pages_left, bytes_left, bytes_sent, pages_sent,
//   send_bits_per_second, dirty_pages_per_second, compression_ratio, predicted_pause_us or null, time_left_us or null,
//   trouble or null, forecast or null, fraction
#pragma once

#include <string>

#include "engine/progress.h"

namespace godwit {

/// One line of at most `width` columns, without a line end. What matters least is left out first.
std::string progress_bar(const Progress& progress, unsigned width);
/// One line for a log, without a line end.
std::string progress_line(const Progress& progress);
/// One JSON object on one line, without a line end.
std::string progress_json(const Progress& progress);

}  // namespace godwit
