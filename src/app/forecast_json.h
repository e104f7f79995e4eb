// A forecast as JSON (docs/json.md): by itself, and as the object that progress has.
#pragma once

#include <optional>
#include <string>

#include "app/forecast_text.h"

namespace godwit {

/// The object that progress has; null without a forecast.
std::string forecast_object(const std::optional<Forecast>& forecast);
/// What `godwit forecast --json` prints: one object on one line, with a line end.
std::string forecast_json(const ForecastAnswer& answer);

}  // namespace godwit
