// Post-copy at the source: the guest runs at the sink before all of it is there, and the rest follows.
//
//   hold():       lanes claim nothing more, what they have sent arrives; the guest runs on
//   tell_ahead(): what the board holds is missing at the sink --MissingMap--> taken away there; again with what has
//                 been written meanwhile, as long as that becomes less, and right before the stop
//   [the guest is paused, the last harvest is on the board]
//   tell():       what it holds besides --MissingMap--> taken away there; requests are answered
//   [the guest runs there]
//   go_on():      lanes push what the guest has not asked for, urgent pages go past them
//   all_there():  the last fence
//
// After an earlier engine: take_up(), go_on(), all_there().
#pragma once

#include <vector>

#include "engine/fence.h"
#include "engine/push_pace.h"
#include "engine/sink_session.h"
#include "engine/source_lanes.h"
#include "engine/urgent_pages.h"

namespace godwit {

/// Coordinator's thread.
class PostcopySource {
 public:
  /// All outlive it.
  PostcopySource(SourceContext& context, SinkSession& session, LaneSetting& setting, SourceLanes& lanes,
                 std::unique_ptr<Channel> urgent)
      : context_(context), session_(session), setting_(setting), lanes_(lanes), urgent_(setting, std::move(urgent)) {}

  /// The fence goes out before which all lies that is not missing.
  void hold();
  bool held() const noexcept { return held_; }
  /// Nobody claims anything any more, the sink has taken away what it was told of, and to tell it more pays.
  bool can_tell_ahead() const;
  /// Tells the sink what it misses besides, as far as that is known. Its answer need not be awaited.
  Status tell_ahead();
  /// What lanes had sent before hold() has been applied, and what tell_ahead() told of has been taken away.
  bool ready() const { return maps_ > 0 && has_taken_away() && !another_map_pays(); }
  /// In the pause: tells the sink what else it misses, and waits until it is ready for that.
  Status tell();
  /// In place of all that, for a guest that runs there since an earlier engine's time: the board holds what it lacks.
  void take_up();
  /// The guest runs there. `bytes_per_second`: what lanes managed so far; 0: not known.
  void go_on(double bytes_per_second = 0);
  /// To be called now and then after go_on(): true once the sink has all of the guest.
  Result<bool> all_there();
  void abort() noexcept { urgent_.abort(); }

  std::uint64_t missing() const noexcept { return missing_; }  ///< pages, when the guest began to run there
  std::uint64_t asked_for() const noexcept { return urgent_.asked_for(); }  ///< pages that it waited for
  std::uint64_t urgent_pages() const noexcept { return urgent_.sent(); }
  std::uint64_t urgent_bytes() const { return urgent_.bytes_sent(); }

 private:
  void keep_pace();
  bool has_taken_away() const { return context_.signals.look().taken_ahead >= maps_; }
  bool another_map_pays() const noexcept;

  SourceContext& context_;
  SinkSession& session_;
  LaneSetting& setting_;
  SourceLanes& lanes_;
  UrgentPages urgent_;
  bool held_ = false;
  unsigned maps_ = 0;           ///< that told_ was told by
  std::vector<PageWord> told_;  ///< by chunk
  std::uint64_t last_map_ = 0;  ///< pages
  std::uint64_t map_before_ = 0;
  std::uint64_t missing_ = 0;
  bool last_fence_asked_ = false;
  PushPace pace_{0};
  Instant paced_at_{};
  std::uint64_t paced_bytes_ = 0;
};

}  // namespace godwit
