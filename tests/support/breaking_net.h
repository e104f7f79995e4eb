// Connections inside this process, one of which breaks at a chosen byte of a chosen message.
//
//   source's end --write()--> | the place of the break? pass what comes before it, then strike | --> sink's end
//
// Engines send one message, frame or greeting a call, so each call is one unit; a place is a unit and an offset in it,
// which stays right whatever else is sent, as heartbeats are, in between. Time runs fast once a connection is broken:
// who waits for what cannot come is timed out almost at once.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "net/channel.h"

namespace godwit::testing {

/// What one call of write() sent: a greeting, a control message or a frame.
struct Unit {
  unsigned connection = 0;  ///< in the order in which they were opened: the control connection, then lanes
  bool by_source = false;
  std::string what;         ///< "greeting", "message 0x07", "frame 2"
  unsigned occurrence = 0;  ///< of those before it on this way, so many were called the same
  std::size_t size = 0;
  bool same_place(const Unit& other) const {
    return connection == other.connection && by_source == other.by_source && what == other.what &&
           occurrence == other.occurrence;
  }
};

struct Break {
  enum class Kind {
    kCut,      ///< the connection ends after what has passed
    kFail,     ///< what this side sends fails from here on; nobody else notices anything
    kHang,     ///< nothing more comes through; sending blocks until the peer counts as dead
    kSwallow,  ///< nothing more comes through, and whoever sends does not notice
  };
  Kind kind = Kind::kCut;
  Unit unit;
  std::size_t passes = 0;  ///< bytes of the unit; all of it: the break comes right after it
};
std::string name_of(Break::Kind kind);

/// The connections of one migration; any thread.
class BreakingNet {
 public:
  explicit BreakingNet(std::optional<Break> breaks = {});
  ~BreakingNet();
  /// For the source's SourceParts; for the sink's SinkParts.
  Result<std::unique_ptr<Channel>> connect();
  Listener& listener() noexcept;
  /// Whether it has broken.
  bool struck() const noexcept;
  /// All that was sent, in order within each way.
  std::vector<Unit> units() const;

  class State;

 private:
  std::shared_ptr<State> state_;
  std::unique_ptr<Listener> listener_;
};

}  // namespace godwit::testing
