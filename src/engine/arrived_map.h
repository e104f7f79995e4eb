// Which of a guest's missing pages have come: in a file, so that whoever comes after this process knows it, too.
//
// The kernel tells which pages are there. It does not tell a page that never came from one that came, and that the
// guest has given back since: the first must be sent, the second must be zeros.
#pragma once

#include <cstdint>
#include <span>

#include "base/result.h"
#include "memory/page.h"

namespace godwit {

/// A word per chunk. set() and word() from any thread.
class ArrivedMap {
 public:
  /// Nothing is kept.
  ArrivedMap() = default;
  /// Of `chunks` words in a file, from `offset` on: whole pages, and there already. kIo and the like.
  static Result<ArrivedMap> map(int file, std::uint64_t offset, std::uint64_t chunks);
  ArrivedMap(ArrivedMap&& other) noexcept;
  ArrivedMap& operator=(ArrivedMap&& other) noexcept;
  ~ArrivedMap();

  /// Once they are in place. It outlives this process as soon as it returns.
  void set(ChunkIndex chunk, PageWord pages) noexcept;
  PageWord word(ChunkIndex chunk) const noexcept;
  std::uint64_t chunks() const noexcept { return words_.size(); }

 private:
  explicit ArrivedMap(std::span<PageWord> words) : words_(words) {}
  std::span<PageWord> words_;  ///< shared with the file
};

}  // namespace godwit
