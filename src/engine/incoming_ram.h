// RAM as it comes in at the sink: the source's map first, then what the lanes bring.
//
//   apply(DataMap) ... --> start() --> lanes put pages in place --> devices' fence --> last fence --> stale pages go
//                             \------> huge pages are populated ahead
#pragma once

#include <optional>
#include <thread>
#include <vector>

#include "engine/all_there.h"
#include "engine/device_loader.h"
#include "engine/filled_pages.h"
#include "engine/in_place_placer.h"
#include "engine/postcopy_sink.h"
#include "engine/reception.h"
#include "engine/sink_lanes.h"
#include "engine/source_session.h"

namespace godwit {

/// Coordinator's thread, except for abort().
class IncomingRam {
 public:
  /// Both outlive it; the VM is there.
  IncomingRam(SinkContext& context, SourceSession& session, Reception::Connections connections);
  ~IncomingRam() { stop(); }

  /// The next part of the map. What the source does not send is zeros from here on.
  Status apply(const wire::DataMap& map);
  /// The map is complete: lanes begin. `loader`, which outlives them, hears which of RAM is in place.
  Status start(DeviceLoader& loader);
  /// More of what will come while the guest runs.
  Status add_missing(const wire::MissingMap& map);
  /// That is all that is known while the guest runs at the source: it is taken away here.
  Status take_away_ahead();
  /// That is all of it: what was added since is taken away, too, and the devices can be loaded.
  Status run_early();
  bool is_early() const noexcept { return early_; }
  /// Memory has been taken away, and the guest will not come: nobody waits for it any more. Lanes have stopped. True if
  /// that is so, or there was nothing to do.
  bool give_up_ahead();
  /// After run_early() and the guest's start: it lacks nothing any more.
  bool all_there() const noexcept { return all_there_.confirmed(); }
  /// All is there: the guest's memory is as any other.
  Status end_early() { return postcopy_->end(); }
  void bear_silence(Duration dead_after) noexcept {
    lanes_->bear_silence(dead_after);
    postcopy_->bear_silence(dead_after);
  }
  void abort() noexcept {
    if (lanes_) lanes_->abort();
    if (postcopy_) postcopy_->abort();
  }
  /// Nobody touches RAM any more when this returns.
  void stop();
  /// The guest runs: what it has is mapped into the hypervisor before the guest asks for it.
  void warm_up();
  /// The link is lost: nothing that lanes were sent is applied any more when this returns.
  void part();
  /// The source has come back with these.
  void join(std::vector<GreetedLane> lanes);
  /// The last of them is for urgent pages.
  bool has_urgent() const noexcept { return postcopy_.has_value(); }
  std::uint64_t bytes_received() const noexcept {
    return received_before_ + (lanes_ ? lanes_->bytes_received() : 0) + (postcopy_ ? postcopy_->bytes_received() : 0);
  }

 private:
  void make_lanes(SinkLanes::Channels channels);
  void start_lanes();
  Status on_passed(std::uint32_t fence);
  Status await_gate();
  Status discard_stale();
  Status keep_record();
  MissingRecord missing_record() const;
  std::uint32_t chunk_count() const noexcept { return memory_.layout().chunk_count(); }

  SinkContext& context_;
  SourceSession& session_;
  GuestMemory& memory_;
  FilledPages filled_;
  InPlacePlacer placer_;
  std::vector<PageWord> map_;  ///< pages that will come; what has come of it, until start()
  DeviceLoader* loader_ = nullptr;
  std::optional<SinkLanes> lanes_;        ///< none while the link is lost
  std::uint64_t received_before_ = 0;     ///< by those that are gone
  std::optional<PostcopySink> postcopy_;  ///< where source and sink have agreed to it
  bool early_ = false;
  bool given_up_ = false;
  AllThere all_there_{[this] { tell_all_there(context_, session_); }};
  std::jthread populator_;
};

}  // namespace godwit
