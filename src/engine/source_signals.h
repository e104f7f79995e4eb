// What other threads have told the source's coordinator, and what it waits for.
#pragma once

#include <cstdint>
#include <optional>

#include "base/clock.h"
#include "engine/mailbox.h"
#include "wire/messages.h"

namespace godwit {

struct SourceSignals {
  bool map_applied = false;
  std::uint32_t fence = 0;  ///< the sink has applied all before it
  bool last_fence = false;
  unsigned taken_ahead = 0;  ///< maps of what is missing that the sink has followed while the guest ran here
  bool map_told = false;     ///< what the sink lacks, where a post-copy is gone on with
  bool prepared = false;
  std::optional<wire::Done> done;
  std::optional<Instant> stopping;  ///< the guest's pause began
  std::optional<Instant> stopped;   ///< RAM does not change any more
  bool stop_told = false;           ///< to the sink
  std::optional<Instant> stream_ended;
  /// When the guest's pause began. The hypervisor's word of it may come after that of the stop itself.
  Instant pause_began() const { return stopping && *stopping < *stopped ? *stopping : *stopped; }
  std::optional<Instant> devices_fenced_at;  ///< all that devices look at is in place
  Instant fenced_at{};
  Instant prepared_at{};
  Instant done_at{};
  Instant heard_at{};       ///< the sink's last message
  Instant awaited_since{};  ///< when the wait began for the last message that had to be waited for
  bool early = false;       ///< the guest is to run at the sink before all of it is there
  bool failed = false;      ///< FirstError has the error
  bool link_lost = false;   ///< LinkWatch has why, and the coordinator is to deal with it
  bool closed = false;      ///< the control connection has been read to its end
  bool committing = false;  ///< too late to cancel
  bool never_ran = false;   ///< after a commit: the sink is certain that the guest never ran there, and never will
};

}  // namespace godwit
