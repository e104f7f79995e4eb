// A control group for a test's process, as a service manager would make it for QEMU, and gone with the test.
#pragma once

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>

#include "base/small_files.h"
#include "throttle/cgroup_places.h"

namespace godwit::testing {

class GroupLab {
 public:
  /// What prevents it is in `why_not`.
  static std::unique_ptr<GroupLab> make(CgroupVersion version, std::string& why_not) {
    for (const auto& mount : cgroup_mounts({})) {
      if (mount.version != version) continue;
      auto lab = std::unique_ptr<GroupLab>(new GroupLab(mount));
      const Status made = lab->make_home();
      if (made) return lab;
      why_not = made.error().message;
    }
    if (why_not.empty()) why_not = "this machine has no such hierarchy";
    return nullptr;
  }
  GroupLab(const GroupLab&) = delete;
  GroupLab& operator=(const GroupLab&) = delete;
  ~GroupLab() {
    remove(home_);
    if (enabled_) (void)write_control_file(mount_.at + "/cgroup.subtree_control", "-cpu").has_value();
  }

  const std::string& home() const { return home_; }
  CgroupVersion version() const { return mount_.version; }
  Status put(pid_t process) const { return write_control_file(home_ + "/cgroup.procs", std::to_string(process)); }

  /// As libvirt does it: a group for one thread.
  Result<std::string> make_group_for(pid_t thread, const std::string& name) const {
    const bool v2 = version() == CgroupVersion::kV2;
    if (v2) TRY(write_control_file(home_ + "/cgroup.subtree_control", "+cpu"));
    std::string folder = home_ + "/" + name;
    if (::mkdir(folder.c_str(), 0755) != 0) return fail_os("make " + folder);
    if (v2) TRY(write_control_file(folder + "/cgroup.type", "threaded"));
    TRY(move_thread(version(), thread, folder));
    return folder;
  }

  /// Everything that a throttle might change, as text.
  std::string picture() const {
    std::string text;
    add(version(), home_, text);
    return text;
  }

 private:
  explicit GroupLab(CgroupMount mount) : mount_(std::move(mount)) {}

  Status make_home() {
    const std::string file = mount_.at + "/cgroup.subtree_control";
    if (version() == CgroupVersion::kV2 && !has_word(read_small_file(file).value_or(""), "cpu")) {
      TRY(write_control_file(file, "+cpu"));
      enabled_ = true;
    }
    std::string home = fmt::format("{}/test-{}-{}", mount_.at, ::getpid(), ++made_);
    if (::mkdir(home.c_str(), 0755) != 0) return fail_os("make " + home);
    home_ = std::move(home);
    return {};
  }

  static void add(CgroupVersion version, const std::string& folder, std::string& text) {
    text += folder + "\n";
    for (const char* file : {"cgroup.type", "cgroup.subtree_control", "cpu.max", "cpu.max.burst", "cpu.cfs_quota_us",
                             "cpu.cfs_period_us", "cpu.cfs_burst_us"}) {
      if (const auto content = read_small_file(folder + "/" + file)) text += fmt::format("{}: {}\n", file, *content);
    }
    // The kernel lists them in no particular order.
    auto threads = threads_in(version, folder).value_or(std::vector<pid_t>());
    std::sort(threads.begin(), threads.end());
    text += fmt::format("threads: {}\n", fmt::join(threads, " "));
    for (const auto& below : groups_below(folder)) add(version, below, text);
  }

  void remove(const std::string& folder) const {
    if (folder.empty()) return;
    for (const auto& below : groups_below(folder)) remove(below);
    for (int i = 0; i < 1000 && ::rmdir(folder.c_str()) != 0 && errno == EBUSY; ++i) {
      const std::string above = folder.substr(0, folder.rfind('/'));
      for (const pid_t thread : threads_in(version(), folder).value_or(std::vector<pid_t>())) {
        const bool whole = version() == CgroupVersion::kV2 && folder == home_;
        (void)write_control_file(above + (whole                             ? "/cgroup.procs"
                                          : version() == CgroupVersion::kV2 ? "/cgroup.threads"
                                                                            : "/tasks"),
                                 std::to_string(thread))
            .has_value();
      }
      ::usleep(2000);
    }
  }

  static inline int made_ = 0;
  CgroupMount mount_;
  std::string home_;
  bool enabled_ = false;
};

}  // namespace godwit::testing
