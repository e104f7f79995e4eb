// The one decision that cannot be taken back: the guest at the source is given up, and the sink runs it.
//
//   both sides alive and as they were? -> nobody was faster -> authority -> journal -> Commit --> Done
//        |no                                                      |no         |no            \-> never ran: roll back
//        v                                                        v           v               \-> silence: in doubt
//     roll back                                                roll back   roll back
#pragma once

#include <variant>

#include "engine/ledger.h"
#include "engine/sink_session.h"

namespace godwit {

/// The guest runs at the sink, or is there complete and paused.
struct Moved {
  Duration pause{};  ///< zero for a guest that somebody else had paused
};
/// The guest may run here: nothing was committed, or the sink is certain that it never ran there and never will.
struct RollBack {
  Error error;
};
/// It was committed, and nobody has said what became of it.
struct InDoubt {
  Error error;
};
using CommitOutcome = std::variant<Moved, RollBack, InDoubt>;

class CommitDecision {
 public:
  /// All outlive it.
  CommitDecision(SourceContext& context, SinkSession& session, Ledger& ledger)
      : context_(context), session_(session), ledger_(ledger) {}

  /// Once, when the sink is prepared.
  CommitOutcome take();

 private:
  Status check() const;
  bool paused_on_the_way() const;
  Status close_to_others();
  Status record();
  CommitOutcome commit();
  SourceSignals await_done(Instant committed);
  RollBack take_back();

  SourceContext& context_;
  SinkSession& session_;
  Ledger& ledger_;
};

}  // namespace godwit
