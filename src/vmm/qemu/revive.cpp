#include "vmm/qemu/revive.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "vmm/qemu/device_file.h"
#include "vmm/qemu/handover_mark.h"
#include "vmm/qemu/json_access.h"
#include "vmm/qemu/migration_end.h"
#include "vmm/qemu/saved_devices.h"
#include "vmm/qemu/vcpu_time.h"

namespace godwit::qemu {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr Duration kPatience = std::chrono::seconds(30);
// QEMU finds out in milliseconds that the other end of its stream is gone, unless its disks are slow to drain.
constexpr Duration kRestPatience = std::chrono::seconds(10);
// A vCPU that is stopped is woken to tell its registers, some ten microseconds each time. One that runs takes as much
// at every tick of its clock.
constexpr std::uint64_t kStoodNs = 500'000;

// What it has been asked since, by as many engines as you like, takes less.
constexpr std::uint64_t kSurelyRanNs = 50'000'000;

constexpr const char* kVcpuTime = "vcpus_ran_ns";
constexpr const char* kVirtualClock = "virtual_clock_ns";

constexpr std::string_view kNoMark =
    "the dead godwit had not seen it paused: somebody else has most likely stopped or moved it";

struct RunState {
  bool running = false;
  std::string name;
};

Result<RunState> query_status(Qmp& qmp) {
  const Json state = TRY(qmp.execute("query-status"));
  RunState status{bool_at(state, "running"), text_at(state, "status")};
  if (status.name == "suspended") status.running = true;  // it waits for its user
  return status;
}

Revived left_alone(const std::string& status, std::string_view why) {
  return {Revival::kNotOurs, fmt::format("QEMU says it is '{}', and {}", status, why)};
}

Result<bool> has_run_by_vcpus(Qmp& qmp, const RemoteProcess& process, std::uint64_t then) {
  const auto threads = TRY(vcpu_threads(qmp));
  const std::uint64_t now = TRY(vcpu_run_time(process, threads));
  return now < then || now - then > kStoodNs;
}

/// Has QEMU save its devices once more: nothing changes by that.
Result<bool> has_run_by_clock(Qmp& qmp, std::uint64_t then) {
  auto file = TRY(DeviceFile::lend(qmp));
  const auto saved = save_devices(qmp, file, false);
  file.take_back();
  if (!saved) return fail(Error(saved.error()));
  return virtual_clock_in(*saved) != then;
}

Result<Revived> let_go(Qmp& qmp) {
  TRY(let_run(qmp, kPatience));
  return Revived{Revival::kLetRun, {}};
}

}  // namespace

Result<bool> at_rest(Qmp& qmp) {
  const auto deadline = steady_clock::now() + kRestPatience;
  for (;;) {
    const std::string migration = text_at(TRY(qmp.execute("query-migrate")), "status");
    // Its state follows a moment after its migration's.
    const auto status = TRY(query_status(qmp));
    if (has_ended(migration) && status.name != "finish-migrate") return true;
    if (steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(milliseconds(10));
  }
}

Result<Revived> revive_after_handover(Qmp& qmp, std::string_view mark) {
  const bool rests = TRY(at_rest(qmp));
  if (!rests) return Revived{Revival::kUnderWay, "a migration of it is under way"};
  const auto status = TRY(query_status(qmp));
  if (status.running) return Revived{};
  if (mark.empty()) return left_alone(status.name, kNoMark);
  // A guest that has run since, and was stopped by hand, is "paused".
  if (status.name != "postmigrate") return left_alone(status.name, "that is not what godwit's hand-over leaves");
  const Json numbers = TRY(qmp.execute("query-migrate"));
  const auto fits = check_mark(mark, numbers);
  if (!fits) return left_alone(status.name, fits.error().message);
  return let_go(qmp);
}

Result<Revived> revive_after_pause(Qmp& qmp, const RemoteProcess& process, std::string_view mark) {
  const bool rests = TRY(at_rest(qmp));
  if (!rests) return Revived{Revival::kUnderWay, "a migration of it is under way"};
  const auto status = TRY(query_status(qmp));
  if (status.running) return Revived{};
  const Json seen = Json::parse(mark, nullptr, /*allow_exceptions=*/false);
  if (!is_mark_of_pause(mark)) return left_alone(status.name, kNoMark);
  if (status.name != "paused") return left_alone(status.name, "godwit's pause leaves it 'paused'");
  const auto has_run = seen.contains(kVirtualClock) ? has_run_by_clock(qmp, number_at(seen, kVirtualClock))
                                                    : has_run_by_vcpus(qmp, process, number_at(seen, kVcpuTime));
  if (!has_run) return left_alone(status.name, has_run.error().message);
  if (*has_run) return left_alone(status.name, "it has run since godwit paused it: somebody else has stopped it");
  return let_go(qmp);
}

Result<bool> has_run_since(Qmp& qmp, const RemoteProcess& process, std::string_view mark) {
  const auto status = TRY(query_status(qmp));
  if (status.running) return true;
  if (!is_mark_of_pause(mark)) return !mark.empty() && status.name != "postmigrate";
  const Json seen = Json::parse(mark, nullptr, /*allow_exceptions=*/false);
  if (seen.contains(kVirtualClock)) {
    // To the nanosecond, where QEMU can save its devices just now.
    if (const auto has_run = has_run_by_clock(qmp, number_at(seen, kVirtualClock))) return *has_run;
  }
  if (!seen.contains(kVcpuTime)) return false;
  const auto threads = TRY(vcpu_threads(qmp));
  const std::uint64_t now = TRY(vcpu_run_time(process, threads));
  return now > number_at(seen, kVcpuTime) + kSurelyRanNs;
}

bool is_mark_of_pause(std::string_view mark) {
  const Json seen = Json::parse(mark, nullptr, /*allow_exceptions=*/false);
  return seen.is_object() && (seen.contains(kVcpuTime) || seen.contains(kVirtualClock));
}

std::string mark_of_pause(const RemoteProcess& process, const std::vector<pid_t>& vcpu_threads,
                          std::optional<std::uint64_t> virtual_clock) {
  const auto ran = vcpu_run_time(process, vcpu_threads);
  Json mark = Json::object();
  if (ran) mark[kVcpuTime] = *ran;
  if (virtual_clock) mark[kVirtualClock] = *virtual_clock;
  return mark.empty() ? std::string() : mark.dump();
}

}  // namespace godwit::qemu
