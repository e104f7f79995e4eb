#include "app/probe_text.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>

#include "app/printable.h"
#include "base/units.h"

namespace godwit {

namespace {

// The last of them are asked for: a host that VMs are moved to all the time has many, for a week each.
constexpr std::size_t kMostMovesShown = 8;

std::string row(std::string_view label, std::string_view text) {
  return fmt::format("  {:<14}{}\n", label, printable(text));
}

/// The first line has the label, the others are put below it; "none" if there is no line.
std::string rows(std::string_view label, const std::vector<std::string>& lines, std::string_view none) {
  if (lines.empty()) return row(label, none);
  std::string out;
  for (const std::string& line : lines) out += row(out.empty() ? label : "", line);
  return out;
}

std::string_view instruction_set(const HostProfile& host) noexcept {
  return host.avx512 ? "AVX-512" : host.avx2 ? "AVX2" : "neither AVX2 nor AVX-512";
}

/// Each device, and below it what is to be done; then what the libraries make of them.
std::vector<std::string> accelerator_lines(const HostProfile& host, const std::vector<std::string>& tried) {
  std::vector<std::string> lines = host.accelerators;
  for (const AcceleratorDevice& device : host.accelerator_devices) {
    lines.push_back(device.text());
    for (const std::string& step : device.to_do) lines.push_back("  to do: " + step);
  }
  if (lines.empty()) lines.emplace_back("none: CPUs compress");
  lines.insert(lines.end(), tried.begin(), tried.end());
  return lines;
}

std::string host_text(const Findings& findings) {
  const auto& [host, lacks, tried, moves, vm] = findings;
  std::string out = "host\n";
  out += row("kernel", host.kernel_release.empty() ? "unknown" : host.kernel_release);
  out += row("cpu", fmt::format("{} x {}, {}, {} NUMA {}", host.cpus,
                                host.cpu_model.empty() ? "unknown model" : host.cpu_model, instruction_set(host),
                                host.numa_nodes, host.numa_nodes == 1 ? "node" : "nodes"));
  out += row("memory", fmt::format("{}, huge pages of 2 MiB: {} free of {}", format_size(host.memory_bytes),
                                   host.hugetlb_2m_free, host.hugetlb_2m_total));
  out += rows("accelerators", accelerator_lines(host, tried), "none");
  if (!host.data_movers.empty()) out += rows("data movers", host.data_movers, "none");
  std::vector<std::string> lines;
  for (const Lack& lack : lacks) lines.push_back(lack.feature + ": " + lack.cost);
  out += rows("lacks", lines, "nothing");
  return out + moves_by_ssh_text(moves);
}

std::string vm_text(const VmFindings& vm) {
  const qemu::Inspection& inspection = vm.inspection;
  const Fingerprint& fingerprint = inspection.fingerprint;
  std::string out = "vm\n";
  out += row("name", fingerprint.vm_name.empty() ? "(without a name)" : fingerprint.vm_name);
  out += row("status", inspection.status);
  out += row("qemu", fmt::format("{}, process {}, {}", fingerprint.version, vm.pid, fingerprint.accelerator));
  out += row("machine", fingerprint.machine);
  out += row("cpu", fmt::format("{} x {}", fingerprint.cpus, fingerprint.cpu_model));
  std::vector<std::string> lines;
  for (const auto& block : inspection.blocks) {
    lines.push_back(fmt::format("{}: {} in pages of {}, reached by {}", block.name, format_size(block.size),
                                format_size(block.page_size), reached_by(block)));
  }
  out += rows("ram", lines, "none");
  lines.clear();
  for (const auto& disk : inspection.direct_disks) lines.push_back(disk.device + ": " + handled_by(disk));
  out += rows("direct disks", lines, "none");
  out += row("devices", vm.devices == DeviceWay::kDirect ? "direct: QEMU saves them when it is asked to"
                                                         : "stream: by QEMU's own migration, because " + vm.why_stream);
  out += row("tracker", vm.verdict.tracker);
  lines.clear();
  for (const auto& obstacle : inspection.obstacles) lines.push_back(obstacle.what + ": " + obstacle.why);
  out += rows("obstacles", lines, "none");
  if (!vm.notes.empty()) out += rows("left behind", vm.notes, "nothing");
  if (const auto warnings = unsafe_caches(fingerprint.disks); !warnings.empty())
    out += rows("warnings", warnings, "none");
  out += row("can be moved", vm.verdict.can_be_moved ? "yes" : "no");
  for (const std::string& reason : vm.verdict.reasons) out += row("", reason);
  return out;
}

/// "vm1, move 3f2a9c01d4e7, 2026-11-28 22:10 UTC: in-doubt, no answer (/run/godwit/move-3f2a9c01d4e7.json)"
std::string line_of_move(const LeftReport& move) {
  return fmt::format("{}, move {}, {:%Y-%m-%d %H:%M} UTC: {}{}{} ({})", move.vm_name.empty() ? "?" : move.vm_name,
                     move.id, fmt::gmtime(static_cast<std::time_t>(move.written)), move.outcome,
                     move.error.empty() ? "" : ", ", move.error, move.file);
}

}  // namespace

std::string moves_by_ssh_text(const std::vector<LeftReport>& moves) {
  if (moves.empty()) return {};
  std::vector<std::string> lines;
  for (const LeftReport& move : moves) {
    if (lines.size() == kMostMovesShown) {
      lines.push_back(fmt::format("and {} before these; --json has all", moves.size() - kMostMovesShown));
      break;
    }
    lines.push_back(line_of_move(move));
  }
  return rows("moves by ssh", lines, "none");
}

std::string probe_text(const Findings& findings) {
  std::string out = host_text(findings);
  if (findings.vm) out += vm_text(*findings.vm);
  return out;
}

}  // namespace godwit
