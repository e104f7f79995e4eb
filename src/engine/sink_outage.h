// An outage of the link at the sink, while memory is copied: what has come stays, until the source is back or its time
// is over.
//
//   [a connection is lost] --> all connections are ended, lanes joined --> the source comes back, with its proof
//        ^                                   |                                   |
//        |                                   +--it does not, in time: given up   +--> Welcome, new lanes: on they go
//        +-----------------------------------------------------------------------+
//
// A source that only changes the number of its lanes comes back in the same way, before anything is lost.
#pragma once

#include "engine/incoming_ram.h"
#include "engine/source_session.h"

namespace godwit {

/// Coordinator's thread.
class SinkOutage {
 public:
  /// Both outlive it.
  SinkOutage(SinkContext& context, SourceSession& session) : context_(context), session_(session) {}

  /// Memory is copied from here on: outages are borne, if both sides have agreed to it.
  void bear();
  /// The source has sent what it cannot send again. Fails with what had been lost before.
  Status bear_no_more();
  /// Whether it has come to what the source said last that a connection is lost, and that is borne: why.
  std::optional<Error> found_in(const Result<wire::Message>& message) const;
  /// Until the source is back and sends again. Nothing that it sent before is applied after it has been answered.
  Status ride_out(const Error& why, IncomingRam& ram);
  /// This side has given up. A source that has lost the link, and so has not heard why, is told when it comes back.
  void leave_word(const Error& why);

 private:
  Status take_back(GreetedSource source, IncomingRam& ram);
  void tell_back(std::optional<unsigned> other_lanes, Duration took) const;
  Status check(const wire::Hello& hello, const IncomingRam& ram) const;

  SinkContext& context_;
  SourceSession& session_;
  bool away_ = false;  ///< the source is, and is waited for
};

}  // namespace godwit
