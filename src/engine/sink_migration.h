// One migration at its sink, step by step: what run_sink() drives.
//
//   await a source --> welcome it --> take its map --> take the guest, until the source commits --> take over --> runs
//         ^               |  |              |                      |                                    |
//         +--it is refused+  +--------------+--> given up <--------+                 in doubt, or <-----+
//                                                                                    given back
#pragma once

#include <optional>

#include "engine/device_loader.h"
#include "engine/incoming_ram.h"
#include "engine/reception.h"
#include "engine/sink_outage.h"
#include "engine/takeover.h"

namespace godwit {

class SinkMigration {
 public:
  /// Both outlive it.
  SinkMigration(const SinkParts& parts, Broker& broker) : context_(parts), session_(context_, broker) {}
  /// For the source that has this place.
  SinkMigration(const SinkParts& parts, Broker::Place place) : context_(parts), session_(context_, std::move(place)) {}
  ~SinkMigration();
  SinkReport run() noexcept;
  /// After run(): a source had come and is lost or was refused, and the hypervisor here waits as it did before: another
  /// may come.
  bool another_may_come() const;

 private:
  // The steps, in order.
  Status up_to_running();
  Status welcome();
  Status take_map();
  Status take_guest();
  Status take_over();
  Status take_rest();
  bool lacks_pages() const { return ram_->is_early() && !ram_->all_there(); }
  void end_what_lacks_pages();

  Result<wire::Message> next_message();
  Result<wire::Message> next_but_heartbeats();
  Status begin_to_change();
  void on_prepared();
  void abort_channels() noexcept;
  void end_threads();
  SinkReport report() const;

  SinkContext context_;
  SourceSession session_;
  Reception reception_{context_, session_};
  SinkOutage outage_{context_, session_};
  std::optional<DeviceLoader> loader_;
  std::optional<IncomingRam> ram_;
  std::optional<Takeover> takeover_;
};

}  // namespace godwit
