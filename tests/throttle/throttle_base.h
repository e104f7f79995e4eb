// What tests of throttles share: a busy process in a group of its own, and a state folder.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <optional>

#include "tests/support/godwit_temp_folder.h"
#include "tests/throttle/busy_process.h"
#include "tests/throttle/group_lab.h"
#include "throttle/throttle.h"
#include "throttle/throttle_keeper.h"

namespace godwit::testing {

inline std::optional<CgroupVersion> groups_of_way(ThrottleWay way) {
  if (way == ThrottleWay::kPtrace) return std::nullopt;
  return way == ThrottleWay::kCgroupV2 ? CgroupVersion::kV2 : CgroupVersion::kV1;
}

class ThrottleBase : public ::testing::Test {
 protected:
  /// Why this cannot be tested here; empty if it can.
  std::string prepare(ThrottleWay way, int threads) {
    way_ = way;
    process_ = std::make_unique<BusyProcess>(threads);
    if (const auto version = groups_of_way(way)) {
      std::string why_not;
      lab_ = GroupLab::make(*version, why_not);
      if (!lab_) return why_not;
      if (const Status put = lab_->put(process_->pid()); !put) return put.error().message;
    }
    for (const auto& finding : Throttle::probe(process_->pid(), process_->threads())) {
      if (finding.way == way) return finding.why_not;
    }
    return "it was not probed";
  }

  ThrottleSettings settings(ThrottleKeeper* keeper = nullptr) const {
    return {.state_folder = state_folder(), .keeper = keeper, .only = way_};
  }
  std::string state_folder() const { return (folder_.path() / "state").string(); }
  std::unique_ptr<Throttle> make() {
    auto made = Throttle::make(process_->pid(), process_->threads(), settings());
    EXPECT_TRUE(made) << made.error().message;
    return made ? *std::move(made) : nullptr;
  }
  /// Everything that must be as before, as text.
  std::string picture() const {
    std::string text = lab_ ? lab_->picture() : std::string();
    for (int i = 0; i < static_cast<int>(process_->threads().size()); ++i) {
      if (process_->has_thread(process_->thread(i))) text += process_->groups_of(i) + "\n";
    }
    for (const auto& name : names_in(state_folder())) text += name + "\n";
    return text;
  }
  bool runs_free(int i) { return process_->state_of(i) == 'R' && process_->goes_on(i); }
  /// By ptrace: some periods long.
  void expect_never_stopped() {
    for (int looks = 0; looks < 300; ++looks) {
      ASSERT_NE(process_->state_of(0), 't');
      ::usleep(1000);
    }
  }

  ThrottleWay way_ = ThrottleWay::kPtrace;
  TempFolder folder_ = TempFolder::make(std::filesystem::temp_directory_path()).value();
  std::unique_ptr<GroupLab> lab_;
  std::unique_ptr<BusyProcess> process_;  // ends before its group
};

}  // namespace godwit::testing
