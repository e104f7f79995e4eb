// One migration at its source, step by step: what run_source() drives.
#pragma once

#include "engine/autopilot.h"
#include "engine/fence_rate.h"
#include "engine/first_error.h"
#include "engine/free_page_filter.h"
#include "engine/handover_relay.h"
#include "engine/heartbeat.h"
#include "engine/ledger.h"
#include "engine/open_lanes.h"
#include "engine/rate_meter.h"
#include "engine/source.h"
#include "engine/source_lanes.h"

namespace godwit {

class SourceMigration {
 public:
  explicit SourceMigration(SourceParts parts);
  ~SourceMigration();
  Report run();

 private:
  // The steps, in order; each one's failure ends in roll_back().
  Status up_to_prepared();
  Status connect();
  Result<wire::Message> await_welcome();
  Status take_lanes(OpenedLanes opened, const std::optional<std::vector<std::uint16_t>>& arrived);
  Status start_tracking();
  Status copy_until_stopped();
  Status last_pages();
  Status await_prepared();
  Report commit();
  SourceSignals await_done(Instant committed);
  Report roll_back(Error error);

  Status harvest();
  Status harvest_near_stop();
  bool all_applied();
  void watch_fence(std::uint64_t bytes_sent);
  Status check_guest();
  Status stop_for_a_moment();
  Status go_on();
  Status hear_the_sink();
  void look_at_the_clock();
  Status note_harvest(const HarvestStats& stats);
  Status settle();
  Status pilot();
  Status send_data_map(std::vector<PageWord>& data);
  Result<std::uint64_t> post_given_back();
  Status start_handover();
  Status until(bool (*ready)(const SourceSignals&), Duration at_most, std::string_view what);
  void read_control();
  void read_messages();
  void say_goodbye(const Error& error);
  Status let_source_go_on();
  void fail_with(Error error);
  void enter(Phase phase);
  void show_progress();
  Sample sample() const;
  std::string trouble_now(const Sample& sample) const;
  Duration load_patience() const;
  Status check_disks(const SourceSignals& signals);
  Report report(Outcome outcome, std::optional<Error> error);
  Instant now() const noexcept { return parts_.clock.now(); }

  SourceParts parts_;
  Instant began_;
  Phase phase_ = Phase::kConnecting;
  std::string sink_version_;
  FirstError error_;
  Mailbox<SourceSignals> signals_;

  std::unique_ptr<Channel> control_channel_;
  std::atomic<bool> control_ready_{false};  ///< control_channel_ is set for good: other threads may use it
  std::atomic<bool> welcomed_{false};
  std::optional<wire::ControlConnection> control_;
  std::optional<HandoverRelay> relay_;
  std::optional<Heartbeat> heartbeat_;
  std::jthread control_reader_;

  Board board_;
  SharedPageWords sent_;
  SharedPageWords left_out_;
  FreePageFilter free_pages_;
  LaneSetting lane_setting_;
  SourceLanes lanes_;

  bool handing_over_ = false;
  std::uint32_t fence_ = 0;      ///< the latest asked for
  std::uint32_t fence_out_ = 0;  ///< the latest that all lanes have sent, when, and what they had sent until then
  Instant fence_out_at_{};
  std::uint64_t bytes_until_fence_ = 0;
  std::uint64_t bytes_of_round_ = 0;  ///< between that fence and the one before
  FenceRate fence_rate_;
  Instant handover_began_{};
  bool first_pass_over_ = false;  ///< no page waits that was not sent before
  Duration given_back_took_{};    ///< to look for pages that were given back, when that was last done; less with time
  bool posted_since_fence_ = true;
  bool leave_out_ = true;      ///< free pages, in this round
  bool posted_again_ = false;  ///< left-out pages, in this round
  bool applied_ = false;       ///< the sink has applied all that was ever posted
  Instant looked_at_{};        ///< when the coordinator last looked at the clock, since the last fence was asked for
  bool stood_still_ = false;
  HarvestStats last_harvest_;
  std::uint64_t deferred_ = 0;  ///< pages that disk requests may still write
  Instant settled_at_{};
  Instant harvested_at_{};
  Duration harvest_interval_{};
  std::uint64_t harvests_ = 0;
  std::uint64_t pages_skipped_ = 0;
  std::uint64_t pages_given_back_ = 0;
  std::vector<PageWord> absent_;  ///< kept, like the next, so that the pause allocates nothing
  std::uint64_t pages_before_pause_ = 0;
  LaneTotals round_;       ///< when the last harvest was begun
  double round_rate_ = 0;  ///< bytes a second from that harvest until the sink had applied it; 0: too short to tell
  RateMeter wire_rate_;
  RateMeter shown_rate_;
  Instant shown_at_{};
  double fraction_ = 0;
  Ledger ledger_;
  Duration pause_{};
};

}  // namespace godwit
