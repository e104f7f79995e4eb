// Goes on at the sink with a post-copy that broke off: the guest runs here, and waits for what only its source has.
//
//   all has come, by the record? --> let go of its memory: done, without a source
//   await a source --> the guest's own? --no: refused--> await the next
//        Welcome, MissingMap ... --> lanes and urgent pages, as PostcopySink has them --> all there --> done
//                                       \--the link breaks--> it waits on, and this can be done again
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "engine/missing_record.h"
#include "engine/report.h"
#include "engine/sink.h"
#include "memory/missing_pages.h"

namespace godwit {

/// What an earlier engine has left at this sink.
struct LackingGuest {
  MissingRecord record;
  std::optional<Error> unusable = {};  ///< why it cannot be gone on with, although it lacks memory: all else is empty
  bool has_all = false;  ///< that engine had ended it: nobody waits any more, and `open` is not to be called
  struct Memory {
    std::unique_ptr<MissingPages> pages;
    std::vector<PageWord> missing;  ///< by chunk: less than at first, if some has come
  };
  /// Finds its memory again. What an earlier call gave is gone then.
  std::function<Result<Memory>()> open;
};

/// As run_sink(), for a guest that is here already. Of `parts` open_vm, lenience, match_samples and start_patience are
/// not used; `fingerprint` needs a name only. Outcome::kDone: the guest has all of its memory; else kIncomplete. Never
/// throws.
SinkReport resume_sink(SinkParts parts, const LackingGuest& guest);

}  // namespace godwit
