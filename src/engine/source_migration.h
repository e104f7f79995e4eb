// One migration at its source, step by step: what run_source() drives.
//
//   connect -> start the loads -> copy until the hypervisor has stopped the guest -> freeze -> prepared -> commit
//      \___________\__________________\________________________________________________\____________\--> roll back
#pragma once

#include <array>
#include <optional>
#include <string>

#include "engine/commit_decision.h"
#include "engine/lane_change.h"
#include "engine/ram_copy.h"
#include "engine/source_outage.h"
#include "engine/source_progress.h"
#include "engine/switchover.h"

namespace godwit {

class SourceMigration {
 public:
  explicit SourceMigration(SourceParts parts);
  Report run();

 private:
  // The steps, in order; each one's failure ends in roll_back().
  Status up_to_prepared();
  Status connect();
  Status settle_device_way();
  Status start_loads();
  Status copy_until_stopped();
  Report commit();
  Report resume();
  Status up_to_taken_up();
  Status follow();
  void keep_paused();
  Report roll_back(Error error);

  Status copy_on();
  Result<bool> ready_to_stop();
  Status check_disks() const;
  void cancel();
  Status let_guest_go_on();
  void await_its_end(const Error& error) const;
  Error explain(Error error) const;
  std::string kind_of_end(const Error& error) const;
  void say_goodbye(const Error& error);
  Report incomplete(Duration pause, Error error);
  Report moved(Duration pause);
  Report report(Outcome outcome, std::optional<Error> error) const;
  Instant now() const noexcept { return context_.now(); }

  SourceContext context_;
  SinkSession session_;
  std::optional<RamCopy> ram_;  ///< made again, at its place, if the sink can only take main memory
  std::vector<Load*> loads_;    ///< RAM, and what else moves
  SourceOutage outage_;
  LaneChange lane_change_;
  SourceProgress progress_;
  std::optional<Instant> paused_again_at_;  ///< at the source, while its memory follows it
  std::optional<Switchover> switchover_;    ///< once the sink has taken the VM
};

}  // namespace godwit
