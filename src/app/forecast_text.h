// A forecast as text.
#pragma once

#include <string>

#include "engine/forecast.h"
#include "engine/goals.h"
#include "service/vm_watch.h"

namespace godwit {

/// What `godwit forecast` prints.
struct ForecastAnswer {
  WatchedVm vm;
  Forecast forecast;
  WhatWouldHelp help;
  Goals goals;
};

std::string forecast_text(const ForecastAnswer& answer);

/// "4.2 s (3.9 s to 5 s)"; without an upper bound "4.2 s (3.9 s or more, perhaps never)".
std::string interval_text(const TimeEstimate& time);

}  // namespace godwit
