// The ledger: what happened between the stop of the guest and its resumption, in microseconds from the stop.
#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "engine/report.h"

namespace godwit {

/// Coordinator's thread only.
class Ledger {
 public:
  void enter(std::string name, Instant begin, Instant end) { notes_.push_back({std::move(name), begin, end}); }
  bool empty() const noexcept { return notes_.empty(); }

  /// Counted from `stop`, which may become known only after the phases that follow it.
  std::vector<LedgerEntry> entries(Instant stop) const {
    const auto since = [&](Instant at) {
      return std::chrono::duration_cast<std::chrono::microseconds>(at - stop).count();
    };
    std::vector<LedgerEntry> out;
    for (const Note& note : notes_) out.push_back({note.name, since(note.begin), since(note.end)});
    return out;
  }

 private:
  struct Note {
    std::string name;
    Instant begin{};
    Instant end{};
  };
  std::vector<Note> notes_;
};

}  // namespace godwit
