// After the commit: the guest is let run here, or given back if it is certain that it never ran here and never will.
//
//   on record --> cont, again and again while the hypervisor refuses --> Done --> announced, warmed up
//                       |cannot, or refuses all the time: can the source take it back?
//                       +--yes--> the hypervisor is ended --> never ran
//                       +--no---> the guest is kept here, paused: in doubt
#pragma once

#include "engine/device_loader.h"
#include "engine/incoming_ram.h"
#include "engine/source_session.h"

namespace godwit {

/// Coordinator's thread.
class Takeover {
 public:
  /// All outlive it.
  Takeover(SinkContext& context, SourceSession& session) : context_(context), session_(session) {}

  /// Once. On success the guest runs, or is here complete and paused if it was paused
  /// at the source.
  Status run();
  /// Tells the source and the network, and sees to it that the guest's first steps are fast. It runs whatever fails.
  void follow_up(const DeviceLoader& loader, IncomingRam& ram);
  /// For certain, after run() has failed.
  bool never_ran() const noexcept { return never_ran_; }
  /// From the commit to the guest's run.
  Duration took() const noexcept { return took_; }

 private:
  Status let_run();
  Status try_until_it_runs();
  bool source_can_take_it_back();
  tl::unexpected<Error> give_back(Error refused);

  SinkContext& context_;
  SourceSession& session_;
  bool never_ran_ = false;
  Duration took_{};
};

}  // namespace godwit
