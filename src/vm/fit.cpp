#include "vm/fit.h"

#include <fmt/format.h>

namespace godwit {
namespace {

/// Where nobody can say whether both sides are one host, a file system of one host says nothing.
std::vector<Disk> without_hosts(std::vector<Disk> disks) {
  for (Disk& disk : disks) {
    if (disk.storage == Storage::kLocal) disk.storage = Storage::kUnknown;
    disk.layers = without_hosts(std::move(disk.layers));
  }
  return disks;
}

}  // namespace

std::vector<std::string> identity_differences(const Fingerprint& source, const Fingerprint& sink) {
  std::vector<std::string> out;
  const auto compare = [&](std::string_view what, const std::string& a, const std::string& b) {
    if (a.empty() || b.empty() || a == b) return;
    out.push_back(
        fmt::format("another VM waits here: the {} is '{}' at the source, '{}' at the sink (`godwit receive "
                    "--any-vm` takes it all the same)",
                    what, a, b));
  };
  compare("UUID", source.uuid, sink.uuid);
  compare("name", source.vm_name, sink.vm_name);
  return out;
}

Fit fit(const Fingerprint& source, const Fingerprint& sink, const Lenience& lenience, const MatchSamples& match) {
  Fit answer;
  const auto add = [](std::vector<std::string>& to, const std::vector<std::string>& more) {
    to.insert(to.end(), more.begin(), more.end());
  };
  if (!lenience.any_vm) add(answer.refusals, identity_differences(source, sink));
  add(answer.refusals, differences(source, sink));
  // A source that lists no disks may be one that cannot: then there is nothing to say of the sink's.
  if (source.disks.empty()) return answer;
  const bool hosts_known = !source.boot_id.empty() && !sink.boot_id.empty();
  const auto here = hosts_known ? source.disks : without_hosts(source.disks);
  const auto there_all = hosts_known ? sink.disks : without_hosts(sink.disks);
  std::vector<DiskMatch> matches;
  for (const Disk& disk : here) {
    const Disk* there = disk_for(disk, there_all);
    matches.push_back(there != nullptr && match ? match(disk, *there) : DiskMatch{});
  }
  const DiskFit disks = compare_disks(here, there_all, hosts_known && source.boot_id == sink.boot_id, matches);
  add(lenience.any_disks ? answer.warnings : answer.refusals, disks.refusals);
  add(answer.warnings, disks.warnings);
  return answer;
}

}  // namespace godwit
