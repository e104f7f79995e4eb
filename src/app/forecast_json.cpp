#include "app/forecast_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "app/printable.h"

namespace godwit {

namespace {

using ForecastObject = nlohmann::ordered_json;

std::uint64_t whole_number(double value) {
  return static_cast<std::uint64_t>(std::clamp(value, 0.0, 9e18));
}

ForecastObject microseconds_or_null(Duration d) {
  if (d == Duration::max()) return nullptr;
  return std::chrono::duration_cast<std::chrono::microseconds>(d).count();
}

ForecastObject object_of(const TimeEstimate& t) {
  return {{"low", microseconds_or_null(t.low)},
          {"point", microseconds_or_null(t.point)},
          {"high", microseconds_or_null(t.high)}};
}

ForecastObject object_of(const Estimate& e) {
  return {{"low", whole_number(e.low)}, {"point", whole_number(e.point)}, {"high", whole_number(e.high)}};
}

ForecastObject object_of(const WhatWouldHelp& help) {
  ForecastObject out{
      {"bits_per_second", nullptr}, {"max_downtime_us", nullptr}, {"timeout_us", nullptr}, {"guest_speed", nullptr}};
  if (help.bytes_per_second) out["bits_per_second"] = whole_number(*help.bytes_per_second * 8);
  if (help.max_downtime) out["max_downtime_us"] = microseconds_or_null(*help.max_downtime);
  if (help.bound) out["timeout_us"] = microseconds_or_null(*help.bound);
  if (help.guest_speed) out["guest_speed"] = *help.guest_speed;
  return out;
}

ForecastObject members_of(const Forecast& f) {
  return {{"prospect", name_of(f.prospect)}, {"converges", converges(f.prospect)}, {"total_us", object_of(f.total)},
          {"left_us", object_of(f.left)},    {"pause_us", object_of(f.pause)},     {"bytes", object_of(f.bytes)},
          {"limited_by", name_of(f.limit)}};
}

}  // namespace

std::string forecast_object(const std::optional<Forecast>& forecast) {
  return forecast ? members_of(*forecast).dump() : "null";
}

std::string forecast_json(const ForecastAnswer& a) {
  ForecastObject object{{"type", "forecast"}, {"vm", printable(a.vm.name)}};
  object.update(members_of(a.forecast));
  object.update(ForecastObject{{"would_help", object_of(a.help)},
                               {"explanation", explain(a.forecast, a.help, a.goals)},
                               {"ram_bytes", a.vm.ram_bytes},
                               {"data_bytes", a.vm.data_bytes},
                               {"free_bytes", a.vm.free_bytes},
                               {"devices", a.vm.devices},
                               {"written_bytes_per_second", whole_number(a.forecast.written_bytes_per_second)},
                               {"first_page_bytes", object_of(a.vm.input.first_page_bytes)},
                               {"again_page_bytes", object_of(a.vm.input.again_page_bytes)},
                               {"bytes_per_second", object_of(a.vm.input.bytes_per_second)},
                               {"pages_tried", a.vm.pages_tried},
                               {"pages_tried_again", a.vm.pages_tried_again}});
  return object.dump() + "\n";
}

}  // namespace godwit
