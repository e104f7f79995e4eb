// The messages of the control connection, as values. spec.md beside this file has the bytes.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "memory/page.h"
#include "vm/fingerprint.h"

namespace godwit::wire {

inline constexpr std::uint16_t kVersion = 5;

/// Random per migration; every connection proves with it that it belongs to the session.
using Secret = std::array<std::byte, 32>;

/// The first bytes of every connection, under a timeout.
enum class Role : std::uint8_t { kControl = 1, kLane = 2, kLinkTest = 3 };
struct Greeting {
  std::uint16_t version = kVersion;
  Role role = Role::kControl;
  std::uint16_t lane = 0;  ///< lane number, 0 for others
  Secret secret{};         ///< the session's; a control connection brings it, lanes must repeat it
  bool operator==(const Greeting&) const = default;
};

// ---- source -> sink
struct Hello {  ///< first after the greeting
  Fingerprint fingerprint;
  std::uint16_t lanes = 1;
  std::string program;  ///< "godwit 0.1.0"
  /// Lanes that have greeted already, 0 to this: all of `lanes`, or none if they come after Welcome.
  std::uint16_t open_lanes = 0;
  bool paused = false;  ///< the guest is paused, and stays so after its Commit
  std::string id = {};  ///< the migration's (base/migration_id.h); empty from a source that has none
  /// The devices could come without QEMU's stream: then all other blocks of the fingerprint's `memory` are moved like
  /// `blocks`, and are numbered behind these in their order, if Welcome agrees.
  bool direct = false;
  /// So many chunks in a row are one lane's, if Welcome agrees; else 1.
  std::uint16_t lane_chunks = 1;
  /// The guest may be run at the sink before all of it is there, if Welcome agrees. The last of `lanes` is then the
  /// connection on which the sink asks for the pages that the guest waits for.
  bool postcopy = false;
  /// A post-copy of this `id` broke off: its guest runs at the sink, which says what it lacks. With `postcopy`.
  bool resume = false;
  /// So long an outage of the link is borne while memory is copied, if Welcome agrees; 0: none is.
  std::uint32_t link_patience_ms = 0;
  /// The link was lost while memory was copied, and the source is back: what its first greeting showed, as proof.
  std::optional<Secret> rejoin = std::nullopt;
  /// With `rejoin`: grows with every try, so that an earlier one which comes late is told from the latest.
  std::uint32_t attempt = 0;
  /// With `rejoin`: not to go on. Abort follows, and says why.
  bool gives_up = false;
  /// With `rejoin`: the link is not lost, the source goes on with another number of lanes.
  bool changes_lanes = false;
  bool operator==(const Hello&) const = default;
};
struct DataMap {  ///< which pages the source will send at first; comes in pieces, in order, before any lane data
  ChunkIndex first;
  std::vector<PageWord> words;
  bool operator==(const DataMap&) const = default;
};
struct DataMapEnd {
  bool operator==(const DataMapEnd&) const = default;
};                    ///< pages not in the map are zeros at the source: the sink makes them so
struct DeviceBytes {  ///< a piece of the hypervisor's device stream
  std::vector<std::byte> bytes;
  bool operator==(const DeviceBytes&) const = default;
};
struct PackedDevices {     ///< the same, compressed; only to a sink whose Welcome says `direct`
  std::uint8_t codec = 0;  ///< as in a block's header
  std::uint32_t size = 0;  ///< bytes, of what it becomes
  std::vector<std::byte> bytes;
  bool operator==(const PackedDevices&) const = default;
};
struct GuestStopped {
  bool operator==(const GuestStopped&) const = default;
};  ///< the source guest is paused; device bytes after this need all of RAM in place before they load
struct DeviceEnd {
  bool operator==(const DeviceEnd&) const = default;
};                   ///< the device stream is complete
struct MissingMap {  ///< pages that will come while the guest runs; in pieces, in order, empty stretches left out.
                     ///< After a Welcome with `resume` it is the sink's
  ChunkIndex first;
  std::vector<PageWord> words;
  bool operator==(const MissingMap&) const = default;
};
struct MissingMapEnd {
  bool operator==(const MissingMapEnd&) const = default;
};  ///< all that the map names is taken away at the sink; whoever touches it waits
struct StayPaused {
  bool operator==(const StayPaused&) const = default;
};  ///< the guest was paused on the way by somebody else: it stays so after its Commit, as with Hello's `paused`
struct Commit {
  bool operator==(const Commit&) const = default;
};  ///< the source never runs this guest again: start it
// ---- sink -> source
struct Welcome {  ///< the sink fits
  Fingerprint fingerprint;
  std::string program;
  std::vector<std::string> warnings;  ///< sentences for the operator: what could not be told, or is let pass
  /// Of the lanes that were open at Hello those that have come, in rising order: the first is lane 0 from here on.
  /// Absent: all of them.
  std::optional<std::vector<std::uint16_t>> lanes = std::nullopt;
  bool keeps_paused = false;           ///< knows what Hello's `paused` asks for
  bool stay_paused = false;            ///< knows StayPaused
  bool direct = false;                 ///< agrees to Hello's `direct`
  std::string why_stream = {};         ///< why it does not, as a phrase
  std::uint16_t lane_chunks = 1;       ///< Hello's, if it agrees to it
  bool postcopy = false;               ///< agrees to Hello's `postcopy`
  std::string why_not_postcopy = {};   ///< why it does not, as a phrase
  bool resume = false;                 ///< the guest of Hello's `id` is here; `blocks` are those that are numbered
  std::uint32_t link_patience_ms = 0;  ///< Hello's, if it agrees to it, or less
  bool rejoin = false;                 ///< what the source had sent is here still: it may go on
  bool operator==(const Welcome&) const = default;
};
struct Refusal {  ///< it does not
  std::string reason;
  bool operator==(const Refusal&) const = default;
};
struct MapApplied {
  bool operator==(const MapApplied&) const = default;
};               ///< memory outside the data map reads as zeros; lanes may send
struct Fenced {  ///< all lanes have applied everything before their fence of this number
  std::uint32_t fence = 0;
  bool operator==(const Fenced&) const = default;
};
struct Prepared {
  bool operator==(const Prepared&) const = default;
};             ///< RAM and devices are loaded, the guest is ready
struct Done {  ///< the guest runs here
  std::uint64_t commit_to_resume_us = 0;
  std::uint64_t cpu_us = 0;    ///< CPU time of the sink engine
  std::uint64_t peak_rss = 0;  ///< bytes, without guest RAM mappings
  std::uint64_t device_load_us = 0;
  bool operator==(const Done&) const = default;
};
// ---- both
struct Heartbeat {
  bool operator==(const Heartbeat&) const = default;
};                   ///< once a second, so that a peer that hangs is noticed
struct Abort {       ///< this side gives up; before Commit the source VM runs on
  std::string kind;  ///< error kind's name
  std::string reason;
  /// A sink's word after a Commit: the guest never ran there, and its hypervisor has ended. The source may run it.
  bool never_ran = false;
  bool operator==(const Abort&) const = default;
};

using Message = std::variant<Hello, DataMap, DataMapEnd, DeviceBytes, PackedDevices, GuestStopped, DeviceEnd,
                             MissingMap, MissingMapEnd, StayPaused, Commit, Welcome, Refusal, MapApplied, Fenced,
                             Prepared, Done, Heartbeat, Abort>;

}  // namespace godwit::wire
