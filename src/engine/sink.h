// The sink: takes in one VM and lets it run once the source has committed.
//
//   control reader:  Hello -> Welcome | DataMap -> MapApplied | device bytes -> loader | Commit -> resume, Done
//   lanes:           frames -> guest RAM; the last fence of every lane -> Fenced
//   loader:          device stream -> hypervisor; what follows GuestStopped waits for the last fence -> Prepared
//   populator:       makes memory present ahead of the data
//
// The guest never runs here before a Commit has been received.
#pragma once

#include <functional>
#include <memory>
#include <stop_token>
#include <string>

#include "base/clock.h"
#include "engine/milestone.h"
#include "engine/report.h"
#include "memory/kernels.h"
#include "net/channel.h"
#include "vmm/hypervisor.h"

namespace godwit {

/// Everything a sink needs, wired by app. All references outlive run_sink().
struct SinkParts {
  Listener& listener;
  const Fingerprint& fingerprint;  ///< of the VM that waits here
  /// The VM with its memory in the source's block order; called once, after the fingerprints were found to fit.
  std::function<Result<SinkVm*>(const Fingerprint& source)> open_vm;
  const Clock& clock;
  const Kernels& kernels;
  Duration patience{};  ///< how long to wait for a source; zero: for ever
  OnMilestone on_milestone;
  std::function<void(std::string_view)> on_note;  ///< a line for the operator: "a connection was turned away: ..."
  std::stop_token cancelled;
  std::string program;
};

struct SinkReport {
  Outcome outcome = Outcome::kSourceRuns;  ///< kDone: the guest is here; kInDoubt: a commit came, but it does not run
  std::optional<Error> error;
  std::string vm_name;
  std::string source_version;
  bool paused = false;               ///< the guest was paused, and stands here as it stood there
  Duration total{};                  ///< from the source's connection on
  std::uint64_t bytes_received = 0;  ///< on the wire, all connections
  Duration commit_to_resume{};
  Duration device_load{};
  Duration cpu{};
  std::uint64_t peak_memory = 0;  ///< bytes, anonymous
};

/// Waits for one migration and runs it to its end. Never throws.
SinkReport run_sink(SinkParts parts);

}  // namespace godwit
