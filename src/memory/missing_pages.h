// Pages of a guest that runs already and that have not come yet: whoever touches one waits until it is put in place.
//
//   guest touches a page that is not there --> waits --await_touches()--> the engine
//   the engine --put()--> the page appears as a whole, and all who wait for it go on
#pragma once

#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "memory/page.h"

namespace godwit {

/// Somebody waits for this page.
struct Touch {
  ChunkIndex chunk;
  unsigned page = 0;
  std::uint32_t chunks = 0;  ///< not 0: for all pages of so many chunks, this one the first, which appear at once
};

/// Memory of one VM. From begin() to end() every touch of a page that is not there waits, whether it is missing or was
/// never written: which of the two it is the caller knows. That goes on when this process dies: the waiting then has no
/// end before somebody opens it again.
class MissingPages {
 public:
  virtual ~MissingPages() = default;

  /// How whoever comes after this process finds it again, in the words of whoever made it.
  virtual std::string trace() const = 0;
  /// Takes these pages away (a word per chunk). Before the guest runs; more can be taken away in later calls. kIo and
  /// the like: some of it may be gone, and the guest must not be run here. Of what was opened again after another
  /// process's end: takes nothing away, and tells again of all who wait.
  virtual Status begin(std::span<const PageWord> missing) = 0;
  /// The next touches, some perhaps of a page that has come meanwhile; none: interrupted. One thread's.
  virtual Result<std::vector<Touch>> await_touches() = 0;
  /// Puts pages in place, that lie one after the other in `in`, each as a whole. kIo with EEXIST if one is there
  /// already, kPeerLost if the hypervisor is gone. Any thread.
  virtual Status put(ChunkIndex chunk, PageWord pages, Bytes in) = 0;
  /// The same with zeros; a page that is there already stays as it is, and those who waited for it go on.
  virtual Status put_zeros(ChunkIndex chunk, PageWord pages) = 0;
  /// Nothing is missing any more: no touch waits from here on.
  virtual Status end() = 0;
  /// Wakes await_touches(), from any thread, for good.
  virtual void interrupt() noexcept = 0;
};

}  // namespace godwit
