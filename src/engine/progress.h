// What a person or a program watches while a migration runs: a value, made by the coordinator about every 100 ms.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "engine/forecast.h"

namespace godwit {

enum class Phase {
  kConnecting,   ///< greeting, fingerprints
  kTracking,     ///< arming the dirty tracker, looking for data
  kCopying,      ///< lanes drain the board while the guest runs
  kHandingOver,  ///< QEMU has been asked to stop the guest
  kPaused,       ///< the guest is paused: last pages, devices
  kPostcopy,     ///< the guest runs at the sink, which lacks some of its memory yet
  kCommitted,    ///< the sink has been told to run it
  kDone,
  kRollingBack,  ///< the source guest is being let run on
};
std::string_view name_of(Phase phase) noexcept;  ///< "connecting", "tracking", "copying", "handing-over", ...

struct Progress {
  std::string id;  ///< of the migration; empty if it has none
  Phase phase = Phase::kConnecting;
  Duration elapsed{};
  std::uint64_t ram_bytes = 0;   ///< of the guest
  std::uint64_t pages_left = 0;  ///< waiting on the board
  std::uint64_t bytes_left = 0;  ///< pages_left * 4096
  std::uint64_t bytes_sent = 0;  ///< on the wire, all connections
  std::uint64_t pages_sent = 0;
  double send_bits_per_second = 0;  ///< over the last second or so
  double dirty_pages_per_second = 0;
  double guest_share = 1;  ///< of a CPU that each vCPU may use; 1: the guest is not slowed down
  double compression = 1;  ///< page bytes per wire byte, of pages with data; 1: no compression
  std::optional<Duration> predicted_pause;
  std::optional<Duration> time_left;  ///< an estimate until done; absent while it cannot be told
  std::string security;               ///< what protects the connections: "TLS 1.3, ..."; empty: nothing, or none yet
  std::string accelerator;            ///< that encodes, as AcceleratorFacts::text(); empty: none
  std::string trouble;                ///< why it does not come to an end so far; empty: it does
  std::optional<Forecast> forecast;   ///< while memory is copied, once it can be told
  double fraction = 0;                ///< 0..1 of the work done, never running backwards
};

using OnProgress = std::function<void(const Progress&)>;

}  // namespace godwit
