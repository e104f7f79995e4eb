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

/// A word per chunk, and one behind them. set() and word() from any thread.
class ArrivedMap {
 public:
  /// Nothing is kept.
  ArrivedMap() = default;
  static constexpr std::uint64_t bytes_for(std::uint64_t chunks) noexcept { return (chunks + 1) * sizeof(PageWord); }
  /// In a file, from `offset` on: a whole page's start, and bytes_for(chunks) are there already. kIo and the like.
  static Result<ArrivedMap> map(int file, std::uint64_t offset, std::uint64_t chunks);
  ArrivedMap(ArrivedMap&& other) noexcept;
  ArrivedMap& operator=(ArrivedMap&& other) noexcept;
  ~ArrivedMap();

  /// Once they are in place. It outlives this process as soon as it returns.
  void set(ChunkIndex chunk, PageWord pages) noexcept;
  PageWord word(ChunkIndex chunk) const noexcept;
  /// Nothing is missing, and the source may be told so. It needs no room, which could be lacking.
  void finish() noexcept;
  bool finished() const noexcept;
  std::uint64_t chunks() const noexcept { return words_.empty() ? 0 : words_.size() - 1; }

 private:
  explicit ArrivedMap(std::span<PageWord> words) : words_(words) {}
  std::span<PageWord> words_;  ///< shared with the file; not 0 in the last one: finished
};

}  // namespace godwit
