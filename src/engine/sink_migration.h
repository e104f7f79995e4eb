// One migration at its sink, step by step: what run_sink() drives.
#pragma once

#include <atomic>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "engine/alarm.h"
#include "engine/broker.h"
#include "engine/device_loader.h"
#include "engine/first_error.h"
#include "engine/heartbeat.h"
#include "engine/in_place_placer.h"
#include "engine/sink.h"
#include "engine/sink_lane.h"
#include "engine/sink_states.h"
#include "wire/control.h"

namespace godwit {

class SinkMigration {
 public:
  /// Both outlive it.
  SinkMigration(const SinkParts& parts, Broker& broker) : parts_(parts), broker_(broker) {}
  ~SinkMigration();
  SinkReport run();
  /// After run(): a source had come and is lost or was refused, and the hypervisor here waits as it did before: another
  /// may come.
  bool another_may_come() const;

 private:
  bool has_come_to(SinkState state) const noexcept { return state_ >= state; }
  bool runs() const noexcept { return has_come_to(SinkState::kRunning); }
  Status migrate();
  Status greet(const wire::Hello& hello);
  Status await_lanes(const wire::Hello& hello, std::vector<std::string> warnings);
  Status serve();
  Status handle(wire::Message& message);
  Status act_on(wire::Message& message);
  void expect_map();
  Status take_only_this_source();
  void hear_why(const wire::Abort& abort);
  Status apply_map(const wire::DataMap& map);
  Status finish_map();
  void populate_ahead(std::stop_token stop);
  Status on_fence(unsigned lane, std::uint32_t fence);
  Status discard_stale();
  void warm_up();
  void on_prepared();
  Status resume();
  Status start_guest();
  bool source_can_take_it_back();
  tl::unexpected<Error> give_back(Error refused);
  void fail_with(Error error);
  void tell_failure();
  void await_close();
  void end_threads();
  void abort_channels() noexcept;
  SinkReport report(std::optional<Error> error);

  const SinkParts& parts_;
  Broker& broker_;
  std::stop_source waits_no_more_;
  std::optional<Broker::Place> place_;  ///< once a source has come
  std::optional<Instant> began_;        ///< a source has come
  FirstError error_;
  std::mutex telling_;  ///< held from when an error is reported until the source has been told
  std::string id_;      ///< of the migration; empty: the source gave none
  std::string source_version_;
  unsigned lane_count_ = 0;
  bool stays_paused_ = false;               ///< the guest was paused at the source, and is not let run here
  std::optional<Outcome> ended_at_source_;  ///< why the source gave up, where that was the guest's doing
  std::optional<Error> source_gave_up_;     ///< in its words
  SinkVm* vm_ = nullptr;
  bool refused_ = false;  ///< the source's VM does not fit

  std::unique_ptr<Channel> control_channel_;
  std::optional<wire::ControlConnection> control_;
  std::atomic<bool> source_lost_{false};
  std::atomic<bool> control_ready_{false};  ///< both are set for good: other threads may use them
  std::vector<std::unique_ptr<Channel>> lane_channels_;
  std::optional<FilledPages> filled_;
  std::optional<InPlacePlacer> placer_;
  std::optional<SinkLaneSetting> lane_setting_;
  std::vector<PageWord> map_;  ///< pages that will come; complete once copying
  std::uint32_t mapped_chunks_ = 0;
  std::mutex fence_mutex_;
  std::vector<std::uint32_t> lane_fences_;  ///< the latest fence of each lane
  std::uint32_t fenced_ = 0;                ///< that all lanes have passed
  std::atomic<SinkState> state_{SinkState::kListening};
  std::mutex prepared_mutex_;  ///< held to become prepared, and to cancel
  bool never_ran_ = false;     ///< for certain, after a commit
  Duration commit_to_resume_{};
  Duration device_load_{};

  std::optional<Heartbeat> heartbeat_;
  std::optional<Alarm> map_is_late_;
  std::optional<Alarm> peer_stays_;  ///< though it was told that its map is late
  std::optional<DeviceLoader> loader_;
  std::jthread populator_;
  std::vector<std::jthread> lane_threads_;
};

}  // namespace godwit
