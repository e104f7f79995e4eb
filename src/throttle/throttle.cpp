#include "throttle/throttle.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "base/small_files.h"
#include "throttle/group_throttle.h"
#include "throttle/stop_and_go.h"

namespace godwit {
namespace {

constexpr std::array kBestFirst{ThrottleWay::kCgroupV2, ThrottleWay::kCgroupV1, ThrottleWay::kPtrace};

class PtraceThrottle final : public Throttle {
 public:
  PtraceThrottle(ProcessName qemu, std::vector<pid_t> threads) : qemu_(qemu), threads_(std::move(threads)) {}
  ~PtraceThrottle() override = default;

  ThrottleWay way() const noexcept override { return ThrottleWay::kPtrace; }

  Status set(double share) override {
    if (!(share > 0 && share <= 1)) return fail(ErrorKind::kInvalidArgument, "a share is above 0 and at most 1");
    if (!is_alive(qemu_)) return fail(ErrorKind::kNotFound, fmt::format("process {} has ended", qemu_.pid));
    if (share < 1 && !stops_) {
      try {
        stops_ = std::make_unique<StopAndGo>(qemu_.pid, threads_);
      } catch (const std::system_error& error) {
        return fail(os_error("start a thread", error.code().value()));
      }
    }
    return stops_ ? stops_->set(std::max(share, kLeastShare)) : Status();
  }

  Status follow(std::span<const pid_t> vcpu_threads) override {
    threads_.assign(vcpu_threads.begin(), vcpu_threads.end());
    if (stops_) stops_->follow(threads_);
    return {};
  }

  Status release() noexcept override {
    stops_.reset();
    return {};
  }

 private:
  const ProcessName qemu_;
  std::vector<pid_t> threads_;
  std::unique_ptr<StopAndGo> stops_;
};

CgroupVersion version_of(ThrottleWay way) {
  return way == ThrottleWay::kCgroupV2 ? CgroupVersion::kV2 : CgroupVersion::kV1;
}

/// The first mount of that version where all of them can be limited; the first one's reason if there is none.
Result<CgroupMount> find_mount(CgroupVersion version, pid_t qemu, const std::vector<pid_t>& threads,
                               const HostPaths& paths) {
  std::optional<Error> why_not;
  for (auto& mount : cgroup_mounts(paths)) {
    if (mount.version != version) continue;
    const auto plans = plan_groups(mount, qemu, threads, paths);
    if (plans) return mount;
    if (!why_not) why_not = plans.error();
  }
  if (why_not) return fail(*std::move(why_not));
  return fail(ErrorKind::kUnsupported, version == CgroupVersion::kV2
                                           ? "no control groups of version 2 are mounted here"
                                           : "no cpu controller of version 1 is mounted here");
}

std::string why_not(ThrottleWay way, pid_t qemu, const std::vector<pid_t>& threads, const HostPaths& paths) {
  if (threads.empty()) return "the vCPUs' threads are not known";
  if (way == ThrottleWay::kPtrace) return StopAndGo::why_not(qemu, threads);
  const auto mount = find_mount(version_of(way), qemu, threads, paths);
  return mount ? std::string() : mount.error().message;
}

bool is_own_folder(const std::string& folder) {
  struct stat about {};
  return ::lstat(folder.c_str(), &about) == 0 && S_ISDIR(about.st_mode) && about.st_uid == ::geteuid();
}

}  // namespace

std::string_view name_of(ThrottleWay way) noexcept {
  switch (way) {
    case ThrottleWay::kCgroupV2:
      return "cgroup-v2";
    case ThrottleWay::kCgroupV1:
      return "cgroup-v1";
    case ThrottleWay::kPtrace:
      break;
  }
  return "ptrace";
}

std::vector<ThrottleFinding> Throttle::probe(pid_t qemu, std::span<const pid_t> vcpu_threads, const HostPaths& paths) {
  const std::vector<pid_t> threads(vcpu_threads.begin(), vcpu_threads.end());
  std::vector<ThrottleFinding> findings;
  for (const auto way : kBestFirst) findings.push_back({way, why_not(way, qemu, threads, paths)});
  std::stable_partition(findings.begin(), findings.end(),
                        [](const ThrottleFinding& finding) { return finding.why_not.empty(); });
  return findings;
}

Result<std::unique_ptr<Throttle>> Throttle::make(pid_t qemu, std::span<const pid_t> vcpu_threads,
                                                 ThrottleSettings settings) {
  const ProcessName named = TRY(name_process(qemu));
  // The keeper is elsewhere.
  std::error_code error;
  settings.state_folder = std::filesystem::absolute(settings.state_folder, error).string();
  std::vector<pid_t> threads(vcpu_threads.begin(), vcpu_threads.end());
  std::string reasons;
  for (const auto& finding : probe(qemu, vcpu_threads, settings.paths)) {
    if (settings.only && *settings.only != finding.way) continue;
    if (!finding.why_not.empty()) {
      reasons += fmt::format("{}{}: {}", reasons.empty() ? "" : "; ", name_of(finding.way), finding.why_not);
    } else if (finding.way == ThrottleWay::kPtrace) {
      return std::make_unique<PtraceThrottle>(named, std::move(threads));
    } else {
      auto mount = TRY(find_mount(version_of(finding.way), qemu, threads, settings.paths));
      return std::make_unique<GroupThrottle>(std::move(mount), named, std::move(threads), std::move(settings));
    }
  }
  return fail(ErrorKind::kUnsupported, fmt::format("this VM cannot be slowed down: {}", reasons));
}

std::vector<std::string> undo_left_throttles(const std::string& state_folder) {
  std::vector<std::string> notes;
  if (!is_own_folder(state_folder)) return notes;
  for (const auto& name : names_in(state_folder)) {
    if (!name.ends_with(".throttle")) continue;
    const std::string file = state_folder + "/" + name;
    const auto record = read_undo_file(file);
    if (record && is_alive(record->engine)) continue;
    const Status undone = undo_file(file);
    if (!undone) {
      notes.push_back(
          fmt::format("a godwit died while it slowed a VM down, and that could not be undone: {}. What is "
                      "to be undone is in {}.",
                      undone.error().message, file));
    } else if (record && is_alive(record->qemu)) {
      notes.push_back(fmt::format("a godwit died while it slowed the VM of process {} down: that has been undone.",
                                  record->qemu.pid));
    }
  }
  return notes;
}

}  // namespace godwit
