// RAM as a load: tracks what is written, posts it on the board, and has the lanes send it, round after round.
//
//   start:   track | look for data --DataMap--> sink: MapApplied | post all data
//   step:    meters, fences -> sample -> decide() -> next_step(): harvest, or look after the round
//   freeze:  last harvest, what was given back, what is not free any more | last fence --> Fenced
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/autopilot.h"
#include "engine/fence_watch.h"
#include "engine/free_page_filter.h"
#include "engine/lane_count.h"
#include "engine/load.h"
#include "engine/postcopy_source.h"
#include "engine/rate_meter.h"
#include "engine/rounds.h"
#include "engine/sink_session.h"
#include "engine/source_forecast.h"
#include "engine/source_lanes.h"

namespace godwit {

class RamCopy final : public Load {
 public:
  /// Both outlive it.
  RamCopy(SourceContext& context, SinkSession& session);
  ~RamCopy() override { cancel(); }

  /// Before start(): what the lanes send on; `urgent` may be null.
  void use(SinkSession::Lanes channels, std::unique_ptr<Channel> urgent);

  /// In place of start(): the guest runs at the sink and lacks these pages (by chunk), which are here as they were
  /// then.
  void take_up(std::span<const PageWord> missing);

  Status start() override;
  Status step() override;
  Duration time_left() const override;
  bool converged() const override {
    return next_ == Step::kHandOver || (next_ == Step::kHandOverEarly && postcopy_->ready());
  }
  Result<bool> ready() override;
  Status stop_is_near() override;
  void stop_is_ordered() override;
  Status freeze(Ledger& ledger) override;
  void finish() noexcept override;
  void cancel() noexcept override;

  // When the link was lost, and that is borne (source_outage.h).

  /// As part(), and the guest is not slowed down meanwhile.
  void part_from_lost_link();
  /// There is a link again; as use().
  Status join(SinkSession::Lanes channels, std::unique_ptr<Channel> urgent);

  // When the number of lanes changes (lane_change.h).

  /// Nothing more is taken off the board, until go_on_sending() or part().
  void hold();
  /// What was taken off it before is known to be at the sink.
  bool is_all_there();
  /// Nothing is sent any more when this returns, and what is not known to be at the sink is on the board.
  void part();
  void go_on_sending();
  /// After part(); as use(). They go on at once.
  void change_lanes(SinkSession::Lanes channels, std::unique_ptr<Channel> urgent);
  LanesSeen lanes_seen() const;

  /// The goals have changed.
  void follow_goals();
  Sample sample() const;
  /// A lane has failed because what it sent did not arrive, almost from the beginning.
  bool never_got_through() const noexcept { return lanes_.never_got_through(); }
  /// The guest runs at the sink before all of it is there: the rest has to follow.
  bool is_early() const noexcept { return postcopy_ && postcopy_->held(); }
  PostcopySource& postcopy() noexcept { return *postcopy_; }
  /// Fills in what it knows.
  void show(Progress& progress, const Sample& sample) const;
  CopyFacts facts() const;
  void account(Report& report) const;

 private:
  Status start_tracking();
  Status send_data_map(const std::vector<PageWord>& data);
  void post_all(const std::vector<PageWord>& data);
  void start_lanes();
  void begin_again(SinkSession::Lanes channels, std::unique_ptr<Channel> urgent);
  void confirm_what_is_applied();
  void ask_how_far_it_is();
  bool all_applied();
  Duration to_send_what_waits() const;
  void watch_fence(std::uint64_t bytes_sent);
  void log_verdict(const Sample& sample) const;
  Status take(Step step);
  Status tell_ahead();
  void slow_down(double share);
  void keep_slow();
  Status freeze_early(Ledger& ledger);
  Status harvest();
  Status harvest_near_stop();
  Status harvest_beside_stop();
  void note_harvest(const HarvestStats& stats);
  void rehearse_look();
  Status settle();
  Status stop_for_a_moment();
  Status go_on();
  Result<std::uint64_t> post_given_back();
  Instant now() const noexcept { return context_.now(); }

  SourceContext& context_;
  SinkSession& session_;
  Board board_;
  SharedPageWords sent_;
  SharedPageWords left_out_;
  FreePageFilter free_pages_;
  std::optional<UnconfirmedPages> unconfirmed_;  ///< while a lost link is borne
  LaneSetting lane_setting_;
  SourceLanes lanes_;
  std::optional<PostcopySource> postcopy_;  ///< where the operator allows it, and the sink can

  Rounds rounds_;
  Step next_ = Step::kGoOn;
  double share_ = 1;        ///< of a CPU that each of the guest's vCPUs has
  double least_share_ = 1;  ///< the least so far
  std::uint64_t slowed_at_harvest_ = 0;
  std::optional<Instant> slowed_since_;
  Instant kept_slow_at_{};         ///< its vCPUs were looked for
  unsigned kept_slow_failed_ = 0;  ///< times in a row
  Duration slowed_for_{};
  FenceWatch fences_;
  Instant asked_at_{};           ///< how far the sink is
  std::uint32_t confirmed_ = 0;  ///< the latest fence that has told of unconfirmed_
  std::optional<Instant> stop_near_since_;
  std::uint64_t deferred_ = 0;  ///< pages that disk requests may still write
  Instant settled_at_{};
  Duration given_back_took_{};  ///< to look for pages that were given back, when that was last done; less with time
  RateMeter wire_rate_;

  std::uint64_t pages_skipped_ = 0;
  std::uint64_t pages_given_back_ = 0;
  std::optional<std::uint64_t> pages_before_pause_;
};

}  // namespace godwit
