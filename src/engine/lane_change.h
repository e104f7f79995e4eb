// The number of lanes changes while memory is copied: as an outage of the link (source_outage.h), but announced, and
// with nothing lost.
//
//   LaneCount: another number --> all new connections are opened; lanes send on
//                                     | they are open
//                                     v
//        no more pages are claimed; a fence tells when those before are all there --Hello--> the sink ends the old ones
//                                                                                 <-Welcome-
//        new lanes share out the chunks, and go on
//
// Which lane a chunk belongs to follows from their number, and so does the order in which versions of a page arrive: no
// lane of the new ones may send before the old ones' last page is there. If anything fails before Hello, the old
// lanes go on. If it fails behind it, they may be gone: that is an outage, which is ridden out with the number before.
#pragma once

#include <memory>
#include <optional>

#include "engine/lane_count.h"
#include "engine/ram_copy.h"
#include "engine/rejoin.h"

namespace godwit {

/// Coordinator's thread.
class LaneChange {
 public:
  /// Both outlive it.
  LaneChange(SourceContext& context, SinkSession& session);
  ~LaneChange() { end(); }

  /// Again and again while memory is copied. Fails if the move is to end; a change that fails does not end it.
  Status look(RamCopy& ram);
  /// The link is lost: whatever was begun is over.
  void interrupt();

 private:
  void consider(RamCopy& ram);
  Status go_on(RamCopy& ram);
  Status await_all_there(RamCopy& ram) const;
  Result<Rejoined> await_lanes(const RamCopy& ram) const;
  Status look_around() const;
  Status check_it_goes_on(const RamCopy& ram) const;
  Status change(RamCopy& ram);
  void give_up(const Error& why);
  void end();

  SourceContext& context_;
  SinkSession& session_;
  LaneCount count_;
  Instant looked_at_{};
  std::unique_ptr<Rejoin> rejoin_;  ///< while a change is under way
  Instant begun_{};                 ///< it was
  std::optional<unsigned> before_;  ///< as many lanes as there were before the latest change
  std::uint32_t fence_then_ = 0;    ///< the latest that had been answered
};

}  // namespace godwit
