// The sink: takes in one VM and lets it run once the source has committed.
//
//   control reader:  Hello -> Welcome | DataMap -> MapApplied | device bytes -> loader | Commit -> resume, Done
//   lanes:           frames -> guest RAM; the last fence of every lane -> Fenced
//   loader:          device stream -> hypervisor; what follows GuestStopped waits for the last fence -> Prepared
//   populator:       makes memory present ahead of the data
//
// The guest never runs here before a Commit has been received. A source that is lost before its data map has changed
// nothing here: another may come.
#pragma once

#include <functional>
#include <memory>
#include <stop_token>
#include <string>

#include "base/clock.h"
#include "codec/decoder_provider.h"
#include "engine/broker.h"
#include "engine/heartbeat.h"
#include "engine/journal.h"
#include "engine/milestone.h"
#include "engine/report.h"
#include "log/log.h"
#include "memory/kernels.h"
#include "net/channel.h"
#include "net/wrap.h"
#include "vm/fit.h"
#include "vmm/hypervisor.h"

namespace godwit {

/// Everything a sink needs, wired by app. All references outlive run_sink().
struct SinkParts {
  Listener& listener;
  Journal& journal;
  const Fingerprint& fingerprint;  ///< of the VM that waits here
  /// The VM with its memory in the source's block order; called after the fingerprints were found to fit, again for
  /// each source.
  std::function<Result<SinkVm*>(const Fingerprint& source, DeviceWay offered)> open_vm;
  const Clock& clock;
  const Kernels& kernels;
  DecoderProvider& decoders;  ///< devices that decode; NoLateDecoders where there is none
  Lenience lenience;          ///< what the operator lets pass
  MatchSamples
      match_samples;    ///< reads this side's disks where the source has looked at its own; none: they are not read
  Duration patience{};  ///< how long to wait for a source; zero: for ever
  /// After a commit: how long to go on asking a hypervisor that refuses to let the guest run.
  Duration start_patience = std::chrono::seconds(60);
  OnMilestone on_milestone;
  /// A line for the operator: "a connection was turned away: ...". From any thread, one at a time.
  std::function<void(std::string_view)> on_note;
  std::stop_token cancelled;
  std::function<std::string()> why_cancelled = {};  ///< once it is; empty: by the operator
  std::string program;
  /// A source has said Hello, with its migration's id (empty: it has none). Called before anything else is done for it.
  std::function<void(std::string_view id)> on_source = {};
  Duration heartbeat = kHeartbeatEvery;
  Log log = {};
  Wrap wrap = {};  ///< put around each connection that comes; empty: none is
};

struct SinkReport {
  Outcome outcome = Outcome::kSourceRuns;  ///< kDone: the guest is here; kInDoubt: a commit came, and it does not run
  std::optional<Error> error;
  std::string id;  ///< the source's name for the migration; empty if none came, or from a source that gave none
  std::string vm_name;
  std::string source_version;
  std::string security;   ///< as in Report
  bool changed = false;   ///< the hypervisor here is not as it was before: its memory, or more; it takes in no other VM
  bool postcopy = false;  ///< the guest was to run here before all of it was
  bool paused = false;    ///< the guest was paused there, and is paused here
  Duration total{};       ///< from the source's connection on
  std::uint64_t bytes_received = 0;  ///< on the wire, all connections
  Duration commit_to_resume{};
  Duration device_load{};
  std::optional<AcceleratorReport> accelerator;  ///< that decoded, if one did
  Duration cpu{};
  std::uint64_t peak_memory = 0;  ///< bytes, anonymous
};

/// Waits for one migration and runs it to its end. Never throws.
SinkReport run_sink(SinkParts parts);

/// The same where one listener serves several migrations, each in a thread of its own. `listener` and `wrap` are not
/// used: who connects is the broker's affair.
SinkReport run_sink(const SinkParts& parts, Broker& broker);

/// The same for a source that has been given a place already, and for no other.
SinkReport run_sink(const SinkParts& parts, Broker::Place place);

}  // namespace godwit
