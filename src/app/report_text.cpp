#include "app/report_text.h"

#include <fmt/format.h>

#include <algorithm>

#include "app/printable.h"
#include "base/units.h"

namespace godwit {

namespace {

/// "label      text\n"; continuation lines have no label.
std::string line(std::string_view label, std::string_view text) {
  return fmt::format("{:<12}{}\n", label, text);
}

std::string named(const std::string& name) {
  return name.empty() ? "(without a name)" : printable(name, 100);
}

std::string version(const std::string& text) {
  return text.empty() ? "?" : printable(text, 40);
}

std::string security(const std::string& text) {
  return text.empty() ? "none: in the clear" : printable(text, 200);
}

std::string_view meaning_of(Outcome outcome) noexcept {
  switch (outcome) {
    case Outcome::kDone:
      return "the VM runs at the destination";
    case Outcome::kSourceRuns:
      return "the VM is at the source as it was";
    case Outcome::kSourceStopped:
      return "the VM is paused at the source";
    case Outcome::kInDoubt:
      return "committed, but the destination did not confirm";
    case Outcome::kGuestEnded:
      return "the guest has ended";
    case Outcome::kGuestPaused:
      return "somebody else has paused the VM at the source";
    case Outcome::kIncomplete:
      return "the VM runs at the destination, and some of its memory is only at the source";
  }
  return "unknown";
}

std::string outcome_row(Outcome outcome, std::string_view meaning) {
  return line("outcome", fmt::format("{}: {}", name_of(outcome), meaning));
}

std::string pause_rows(const Report& report) {
  if (report.paused) return line("pause", "none: the VM was paused at the source, and is paused at the destination");
  std::string out = line("pause", fmt::format("{} (asked for at most {})", format_duration(report.pause),
                                              format_duration(report.max_downtime)));
  if (report.ledger.empty()) return out;
  std::size_t width = std::string_view("phase").size();
  for (const LedgerEntry& entry : report.ledger) width = std::max(width, entry.name.size());
  out += line("", fmt::format("{:<{}} {:>12} {:>12} {:>12}", "phase", width, "from us", "to us", "took us"));
  for (const LedgerEntry& entry : report.ledger) {
    out += line("", fmt::format("{:<{}} {:>12} {:>12} {:>12}", printable(entry.name), width, entry.begin_us,
                                entry.end_us, entry.end_us - entry.begin_us));
  }
  return out;
}

std::string page_rows(const Report& report) {
  return line("memory", fmt::format("{}: pages {} sent, {} zero, {} never sent", format_size(report.ram_bytes),
                                    report.pages_data, report.pages_zero, report.pages_skipped)) +
         line("", report.pages_free > 0 ? fmt::format("{} more never sent: the guest has them free", report.pages_free)
                                        : "free pages of the guest: " + printable(report.free_pages)) +
         line("",
              fmt::format("{} sent only where changed, {} as one value, {} as a copy; {} had not changed",
                          report.pages_delta, report.pages_same_fill, report.pages_copied, report.pages_unchanged)) +
         line("", fmt::format("of those {} again, {} in the pause; {} given back by the guest", report.pages_resent,
                              report.pages_in_pause, report.pages_discarded));
}

std::string slowdown_row(const Report& report) {
  if (report.least_share >= 1) return "";
  return line("slowed", fmt::format("for {}: each vCPU had {:.0f} % of a CPU at least",
                                    format_duration(report.slowed_for), report.least_share * 100));
}

std::string outage_row(const Report& report) {
  if (report.outages == 0) return "";
  return line("link", fmt::format("{} outage{}, {}", report.outages, report.outages == 1 ? "" : "s",
                                  format_duration(report.outages_lasted)));
}

std::string postcopy_row(const Report& report) {
  if (!report.postcopy) return "";
  return line("post-copy", fmt::format("{} pages came while the guest ran: it waited for {}, {} went past the lanes",
                                       report.pages_missing, report.pages_asked_for, report.pages_urgent));
}

std::string byte_rows(const Report& report) {
  std::string out =
      line("wire", fmt::format("{}: lanes {}, control {} (devices {})",
                               format_size(report.bytes_lanes + report.bytes_control), format_size(report.bytes_lanes),
                               format_size(report.bytes_control), format_size(report.bytes_devices)));
  std::string payload =
      fmt::format("payload raw {}, compressed {}", format_size(report.bytes_raw), format_size(report.bytes_compressed));
  if (report.bytes_compressed > 0) {
    payload += fmt::format(
        " from {} (ratio {:.2f})", format_size(report.bytes_before_compression),
        static_cast<double>(report.bytes_before_compression) / static_cast<double>(report.bytes_compressed));
  }
  out += line("", payload);
  if (!report.why_stream.empty()) {
    out += line("", fmt::format("devices by QEMU's migration stream, because {}", report.why_stream));
  }
  if (report.hypervisor_ram_bytes > 0) {
    out += line("", fmt::format("{} of RAM that QEMU wrote were dropped before the wire",
                                format_size(report.hypervisor_ram_bytes)));
  }
  return out;
}

/// What would be 0 in a move without trouble.
std::string trouble_row(const Report& report) {
  std::string counted;
  for (const auto& counter : LaneSums::kAll) {
    const auto count = report.*counter.count;
    if (counter.text.empty() || count == 0) continue;
    counted += fmt::format("{}{}: {}", counted.empty() ? "" : ", ", counter.text, count);
  }
  return counted.empty() ? "" : line("", counted);
}

std::string count_of(std::uint64_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

std::string engine_row(const Report& report) {
  std::string threads = count_of(report.lanes, "lane");
  if (report.encoding_threads > 0) threads += " and " + count_of(report.encoding_threads, "encoding thread");
  return line("engine", fmt::format("{}, {}, {} kernels, {}", threads, report.codec, report.kernels,
                                    count_of(report.harvests, "harvest"))) +
         trouble_row(report);
}

std::string accelerator_rows(std::string_view label, const std::optional<AcceleratorReport>& accelerator) {
  if (!accelerator) return "";
  const auto& [facts, use] = *accelerator;
  std::string out = line(label, printable(facts.text(use)));
  out += line("", fmt::format("{} to {} by it; {} when it was busy, {} failed", count_of(use.blocks, "block"),
                              format_size(use.bytes_after), use.busy, use.failed));
  if (!use.given_up.empty()) out += line("", "given up: " + printable(use.given_up));
  return out;
}

}  // namespace

std::string render_report(const Report& report) {
  const bool paused = report.paused && report.outcome == Outcome::kDone;
  std::string out =
      outcome_row(report.outcome, paused ? "the VM is at the destination, paused" : meaning_of(report.outcome));
  out += line("vm", fmt::format("{}, QEMU {} to {}", named(report.vm_name), version(report.source_version),
                                version(report.sink_version)));
  out += line("security", security(report.security));
  out += line("total", format_duration(report.total));
  // Without a pause there is nothing to take apart.
  if (report.pause > Duration{} || !report.ledger.empty()) out += pause_rows(report);
  out += page_rows(report) + slowdown_row(report) + outage_row(report) + postcopy_row(report);
  out += byte_rows(report);
  if (report.lanes > 0) out += engine_row(report) + accelerator_rows("encoded by", report.accelerator);
  if (!report.why_no_accelerator.empty()) out += line("encoded by", "CPUs: " + printable(report.why_no_accelerator));
  out += line("cpu time", fmt::format("source {}, destination {}", format_duration(report.source_cpu),
                                      format_duration(report.sink_cpu)));
  out += line("peak memory", fmt::format("source {}, destination {}", format_size(report.source_peak_memory),
                                         format_size(report.sink_peak_memory)));
  return out;
}

std::string render_report(const SinkReport& report) {
  const std::string_view runs =
      report.paused ? "the VM is here, paused as it was: `cont` lets it run" : "the VM runs here";
  const std::string_view meaning = report.outcome == Outcome::kDone      ? runs
                                   : report.outcome == Outcome::kInDoubt ? "committed, but the VM does not run here"
                                                                         : "the VM was not started here";
  std::string out = outcome_row(report.outcome, meaning);
  out += line("vm", report.source_version.empty()
                        ? named(report.vm_name)
                        : fmt::format("{}, from QEMU {}", named(report.vm_name), printable(report.source_version, 40)));
  out += line("security", security(report.security));
  out += line("total", format_duration(report.total));
  out += line("wire", format_size(report.bytes_received) + " received");
  out += accelerator_rows("decoded by", report.accelerator);
  // Not where a post-copy was gone on with: the guest ran before.
  if (report.commit_to_resume != Duration{}) {
    out += line("devices", "loaded in " + format_duration(report.device_load));
    out += line("resume", format_duration(report.commit_to_resume) + " after the commit");
  }
  out += line("cpu time", format_duration(report.cpu));
  out += line("peak memory", format_size(report.peak_memory));
  return out;
}

}  // namespace godwit
