// What a migration cost: an immutable value made at its end, whichever end that was.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "codec/accelerator_use.h"
#include "engine/lane_counters.h"

namespace godwit {

/// How it ended, which is also what is known about where the guest is.
enum class Outcome {
  kDone,           ///< the guest runs at the destination
  kSourceRuns,     ///< failed or cancelled; the source VM runs on as before
  kSourceStopped,  ///< failed; the source VM is paused and could not be resumed: the message says what to do
  kInDoubt,        ///< committed, but the destination did not confirm
  kGuestEnded,     ///< not moved: the guest has shut down or crashed, or its hypervisor has ended
  kIncomplete,     ///< the guest runs at the destination and waits for pages that only the source has
  kGuestPaused,    ///< not moved: somebody else has paused the guest meanwhile; it stays paused at the source
};
std::string_view name_of(Outcome outcome) noexcept;  ///< "done", "source-runs", ..., as in docs/json.md

/// Blocks (of one chunk each) that went with one codec.
struct CodecShare {
  std::string codec;
  std::uint64_t blocks = 0;
  std::uint64_t bytes_before = 0;
  std::uint64_t bytes_after = 0;
};

/// A phase of the switchover. All times are from the moment the guest's pause began.
struct LedgerEntry {
  std::string name;  ///< "last harvest", "last pages", "devices saved", "prepared", "committed", "running"
  std::int64_t begin_us = 0;
  std::int64_t end_us = 0;
};

/// What lanes have counted is part of it (engine/lane_counters.h).
struct Report : LaneSums {
  Outcome outcome = Outcome::kSourceRuns;
  std::optional<Error> error;  ///< absent if done
  std::string id;              ///< of the migration (base/migration_id.h); empty if it had not begun
  std::string vm_name;
  std::string source_version;  ///< of the hypervisor
  std::string sink_version;
  std::string security;            ///< what protected the connections: "TLS 1.3, ..."; empty: nothing
  std::string codec;               ///< as asked for; "auto" if not
  std::vector<CodecShare> codecs;  ///< what was used
  unsigned lanes = 0;
  unsigned encoding_threads = 0;                 ///< that worked beside the lanes, the most at once
  std::optional<AcceleratorReport> accelerator;  ///< that encoded, if one did
  std::string why_no_accelerator;                ///< why not that which was asked for, in a sentence; else empty
  std::string kernels;                           ///< SIMD table used

  Duration total{};         ///< from the command's start to its end
  Duration pause{};         ///< from the source's stop to the destination's run, as the source's clock sees it
  Duration max_downtime{};  ///< what was asked for
  bool paused = false;      ///< by somebody else, before or on the way, and it arrived so: it has not been let run
  std::vector<LedgerEntry> ledger;

  std::uint64_t ram_bytes = 0;
  std::uint64_t pages_skipped = 0;     ///< never sent: holes and untouched memory
  std::uint64_t pages_free = 0;        ///< never sent: the guest had them free
  std::string free_pages;              ///< "found", or why the guest's free pages could not be told
  std::uint64_t pages_in_pause = 0;    ///< sent while the guest was paused
  bool given_before = false;           ///< in doubt by an earlier move's commit; nothing has been done now
  bool postcopy = false;               ///< the guest ran at the destination before all of it was there
  std::uint64_t pages_missing = 0;     ///< of a post-copy: when the guest began to run at the destination
  std::uint64_t pages_asked_for = 0;   ///< of those: that the guest touched before they had come
  std::uint64_t pages_urgent = 0;      ///< of those: sent past the lanes, with what lay behind a page asked for
  std::uint64_t pages_discarded = 0;   ///< given back by the guest on the way, punched at the destination too
  std::uint64_t bytes_raw = 0;         ///< payload bytes of chunks that went raw
  std::uint64_t bytes_compressed = 0;  ///< payload bytes of chunks that went compressed
  std::uint64_t bytes_before_compression = 0;
  std::uint64_t bytes_lanes = 0;             ///< on the wire, all lanes, with headers
  std::uint64_t bytes_control = 0;           ///< on the wire, control connection, with the device stream
  std::string_view devices;                  ///< how they went: "direct" or "stream"
  std::string why_stream;                    ///< why not directly, as a phrase; empty where that was asked for
  std::uint64_t bytes_devices = 0;           ///< of the device stream
  std::uint64_t bytes_devices_in_pause = 0;  ///< of those, after the guest had been stopped
  std::uint64_t harvests = 0;
  double least_share = 1;  ///< of a CPU that each vCPU was given; 1: the guest was not slowed down
  Duration slowed_for{};
  std::uint64_t hypervisor_ram_bytes = 0;  ///< page bytes that QEMU wrote into the filter and that were dropped

  unsigned outages = 0;       ///< of the link, that were ridden out, and the one that was not
  Duration outages_lasted{};  ///< all of them

  Duration commit_to_resume{};  ///< of the pause: as the destination's clock saw it

  Duration source_cpu{};  ///< of the engine
  Duration sink_cpu{};
  std::uint64_t source_peak_memory = 0;  ///< bytes; anonymous memory of the engine, guest RAM mappings not counted
  std::uint64_t sink_peak_memory = 0;
};

}  // namespace godwit
