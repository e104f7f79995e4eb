// An outage of the link at the source, while memory is copied: the guest runs on, and so does the move once the sink is
// reached again.
//
//   [a connection is lost] --> all connections are ended, lanes joined --> what is not known to be there: on the board
//        ^                                                                        |
//        |        new connections <--Rejoin-- tries, until the time is over <-----+
//        +----------- lanes go on
#pragma once

#include "engine/ram_copy.h"
#include "engine/rejoin.h"

namespace godwit {

/// Coordinator's thread.
class SourceOutage {
 public:
  /// Both outlive it.
  SourceOutage(SourceContext& context, SinkSession& session) : context_(context), session_(session) {}

  /// Memory is copied from here on: outages are borne, if both sides have agreed to it.
  void bear();
  /// Until the sink is reached again and lanes send.
  Status ride_out(RamCopy& ram);
  /// The move has been given up. Tells the sink, if that has not been possible, as long as it can be reached at once.
  /// `kind`: as Abort's.
  void say_goodbye(const std::string& kind, const Error& error);
  void account(Report& report) const;

 private:
  Status await_last_word() const;
  Status check_it_is_of_use(const Error& why, Instant heard);
  Status await_link(Rejoin& rejoin, const Error& why, RamCopy& ram);

  SourceContext& context_;
  SinkSession& session_;
  std::optional<Instant> fruitless_since_;  ///< no fence has been answered since the first of the latest outages
  std::uint32_t fence_then_ = 0;
  unsigned outages_ = 0;
  Duration lasted_{};
};

}  // namespace godwit
