// How a sink receives a source: looks whether its VM fits, takes its lanes, welcomes it, and waits so long for its map.
//
//   Hello --> fits? --no--> Refusal
//               |yes
//               v
//           open the VM here --> lanes --> Welcome --> [the first DataMap] --> nobody else may come
//                                             \------- none in time: the source is let go
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/alarm.h"
#include "engine/source_session.h"

namespace godwit {

/// Coordinator's thread.
class Reception {
 public:
  struct Connections {
    std::vector<std::unique_ptr<Channel>> lanes;
    /// Both, where the guest may be run here before all of it is: the last of those that came is for urgent pages.
    std::unique_ptr<Channel> urgent;
    std::unique_ptr<MissingPages> missing_pages;
  };

  /// Both outlive it.
  Reception(SinkContext& context, SourceSession& session) : context_(context), session_(session) {}

  /// The connections that have come, in their order. Sets the context's VM.
  Result<Connections> welcome();
  /// The first part of the map is here, with which something changes here: fails if it has come too late.
  Status end();
  /// The source's VM does not fit: nothing was asked of the one here.
  bool turned_away() const noexcept { return turned_away_; }

 private:
  Result<std::vector<std::string>> admit();
  Result<std::unique_ptr<MissingPages>> open_missing_pages(const std::vector<GreetedLane>& lanes) const;
  void expect_map();

  SinkContext& context_;
  SourceSession& session_;
  bool turned_away_ = false;
  // Until the map comes the source has all others wait for it.
  std::optional<Alarm> map_is_late_;
  std::optional<Alarm> source_stays_;  ///< though it was told that its map is late
};

}  // namespace godwit
