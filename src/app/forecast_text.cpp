#include "app/forecast_text.h"

#include <fmt/format.h>

#include <algorithm>

#include "app/printable.h"
#include "base/units.h"

namespace godwit {

namespace {

std::string forecast_row(std::string_view label, std::string_view text) {
  return fmt::format("  {:<16}{}\n", label, text);
}

std::uint64_t whole(double value) {
  return static_cast<std::uint64_t>(std::clamp(value, 0.0, 9e18));
}

std::string_view sentence_of(Prospect prospect) {
  switch (prospect) {
    case Prospect::kConverges:
      return "yes";
    case Prospect::kLikely:
      return "as it looks, yes; with some bad luck, no";
    case Prospect::kTooLong:
      return "no: it would take longer than --timeout";
    case Prospect::kNever:
      return "no";
  }
  return "unknown";
}

std::string_view sentence_of(LimitedBy limit) {
  switch (limit) {
    case LimitedBy::kNothing:
      return "nothing";
    case LimitedBy::kLink:
      return "the link";
    case LimitedBy::kEncoding:
      return "CPUs that encode";
    case LimitedBy::kGuestWrites:
      return "what the guest writes";
    case LimitedBy::kLooks:
      return "the last look at which pages were written";
  }
  return "unknown";
}

std::string bytes_text(const Estimate& e) {
  return fmt::format("{} ({} to {})", format_size(whole(e.point)), format_size(whole(e.low)),
                     format_size(whole(e.high)));
}

}  // namespace

std::string interval_text(const TimeEstimate& t) {
  if (t.point == Duration::max()) return "no end in sight";
  if (t.high == Duration::max()) {
    return fmt::format("{} ({} or more, perhaps without an end)", format_duration(t.point), format_duration(t.low));
  }
  return fmt::format("{} ({} to {})", format_duration(t.point), format_duration(t.low), format_duration(t.high));
}

std::string forecast_text(const ForecastAnswer& a) {
  const Forecast& f = a.forecast;
  std::string out = fmt::format("forecast for {}\n", a.vm.name.empty() ? "a VM without a name" : printable(a.vm.name));
  out += forecast_row("memory", fmt::format("{}, of which {} would be copied", format_size(a.vm.ram_bytes),
                                            format_size(a.vm.data_bytes)));
  out +=
      forecast_row("guest writes", format_size(whole(f.written_bytes_per_second)) + " of different pages in a second");
  const double page = static_cast<double>(kPageSize);
  out += forecast_row("a page costs",
                      fmt::format("{:.0f} of {:.0f} bytes on the wire, sent again {:.0f}",
                                  a.vm.input.first_page_bytes.point, page, a.vm.input.again_page_bytes.point));
  if (a.goals.bandwidth) {
    out += forecast_row("link", format_bit_rate(static_cast<double>(a.goals.bandwidth->bits_per_second)));
  }
  out += forecast_row("converges", sentence_of(f.prospect));
  out += forecast_row("total", interval_text(f.total));
  out += forecast_row(f.prospect == Prospect::kNever ? "pause, at least" : "pause",
                      fmt::format("{} ({} to {})", format_duration(f.pause.point), format_duration(f.pause.low),
                                  format_duration(f.pause.high)));
  if (f.prospect != Prospect::kNever) out += forecast_row("bytes", bytes_text(f.bytes));
  out += forecast_row("limited by", sentence_of(f.limit));
  if (converges(f.prospect) && f.pause.point > a.goals.max_downtime) {
    out += fmt::format("devices and looks alone make the pause longer than --max-downtime {}\n",
                       format_duration(a.goals.max_downtime));
  }
  if (const auto why = explain(f, a.help, a.goals); !why.empty()) out += why + "\n";
  return out;
}

}  // namespace godwit
