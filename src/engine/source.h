// The source: moves a running VM to a sink, or leaves it running.
//
//   connect, greet, open lanes, Hello ------------------------------------> Welcome
//   track, look for data, DataMap ... ------------------------------------> MapApplied
//   copying: lanes drain the board | harvests post what is written | the autopilot looks at each sample
//   hand over: the hypervisor stops the guest -- last harvest, fences ----> Fenced
//                                             -- device stream -----------> Prepared
//   journal the commit, Commit -------------------------------------------> Done
//
// Before the commit every failure ends with the source VM running; after it the source VM never runs again.
#pragma once

#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "codec/encoder_provider.h"
#include "engine/commit_authority.h"
#include "engine/goals.h"
#include "engine/heartbeat.h"
#include "engine/journal.h"
#include "engine/lane_count.h"
#include "engine/load.h"
#include "engine/milestone.h"
#include "engine/progress.h"
#include "engine/report.h"
#include "engine/steering.h"
#include "log/log.h"
#include "memory/kernels.h"
#include "net/channel.h"
#include "net/wrap.h"
#include "tracking/dirty_tracker.h"
#include "tracking/free_pages.h"
#include "vmm/hypervisor.h"

namespace godwit {

/// Everything a source needs, wired by app. All references outlive run_source().
struct SourceParts {
  SourceVm& vm;
  DirtyTracker& tracker;
  Journal& journal;
  const Clock& clock;
  const Kernels& kernels;
  EncoderProvider& encoders;
  const HashKey& hash_key;                                    ///< random, for this migration only
  std::function<Result<std::unique_ptr<Channel>>()> connect;  ///< one connection to the sink; from any thread
  Goals goals;
  Steering* steering = nullptr;  ///< changes the goals while it runs; null: nobody does
  /// The connection for pages that a guest waits for there, past the rate limit; empty: as `connect`.
  std::function<Result<std::unique_ptr<Channel>>()> connect_urgent = {};
  /// Likewise past the rate limit, once the link was lost; empty: as `connect`, which nobody can stop.
  Reconnect reconnect = {};
  /// Gives the guest's vCPUs this share of a CPU each, 1: as before; empty: it cannot be slowed down. Called with the
  /// same share again and again: vCPUs may have been added.
  std::function<Status(double share)> slow_guest = {};
  /// Lets vCPUs run as fast as they can within microseconds each, before slow_guest(1) puts all back; empty: that must
  /// do.
  std::function<Status()> lift_slowdown = {};
  CommitAuthority* authority = nullptr;   ///< null: nobody else is asked
  std::vector<Load*> other_loads;         ///< what moves besides RAM
  FreePages* free_pages = nullptr;        ///< null: what the guest has free is sent like the rest
  bool quiesce_harvests = false;          ///< stop the guest around each harvest: a disk writes past the page tables
  bool holes_may_appear = false;          ///< a balloon or the like gives memory back on the way
  std::function<void()> lift_rate_limit;  ///< called when the switchover begins: the pause does not wait for a budget
  /// As RateLimit::pace(), of what lanes send together.
  std::function<void(double bytes_per_second)> pace_lanes = {};
  std::function<void()> impose_rate_limit = {};  ///< what follows a guest that runs already keeps to it again
  /// Another limit; none: no limit.
  std::function<void(std::optional<BitRate>)> change_rate_limit = {};
  /// Puts a connection of `connect_urgent` that is a lane after all under it.
  std::function<std::unique_ptr<Channel>(std::unique_ptr<Channel>)> limit_rate = {};
  OnProgress on_progress;
  OnMilestone on_milestone;
  std::function<void(std::string_view)> on_note;  ///< a line for the operator; any thread, may be empty
  /// Called once the guest runs at the sink, with the report: what is cleaned up here after that is nobody's wait.
  std::function<void(const Report&)> on_moved;
  std::stop_token cancelled;  ///< the operator wants it to stop
  std::string program;        ///< "godwit 0.1.0"
  Duration heartbeat = kHeartbeatEvery;
  LanePace lane_pace = {};  ///< where goals let the number of lanes change
  std::string id = {};      ///< of this migration, for Hello (base/migration_id.h)
  /// Goes on with the post-copy of that id, which broke off: the guest runs at the sink, or nowhere. Goals must allow
  /// post-copy.
  bool resumes = false;
  Log log = {};
};

/// Runs one migration to its end, whichever that is. Never throws; the report says what became of the guest.
Report run_source(SourceParts parts);

}  // namespace godwit
