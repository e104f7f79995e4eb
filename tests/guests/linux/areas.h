// Memory that knows what it must hold: the guest's own witness that no page was lost, torn, stale or swapped on the
// way.
//
// Two kinds. A StaticArea never changes after its filling; a table elsewhere keeps one hash per page. A WriterArea is
// rewritten all the time; a page carries its own number, version and hash, and a table elsewhere says which version it
// must be. So a page that arrived whole but old is found too, which a checksum inside the page could never tell.
//
// Not safe for several threads: the checker's thread owns all areas.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace godwit::guest {

inline constexpr std::size_t kPageSize = 4096;
inline constexpr std::size_t kWordsPerPage = kPageSize / sizeof(std::uint64_t);

using Word = std::uint64_t;

/// Small, fast and repeatable; no cryptography.
class Random {
 public:
  explicit Random(Word seed) : state_(seed) {}
  Word next() noexcept;
  Word below(Word limit) noexcept { return next() % limit; }

 private:
  Word state_;
};

Word hash_of(const Word* words, std::size_t count) noexcept;

/// Page-aligned anonymous memory, present from the start. Aborts the guest if there is none.
class Pages {
 public:
  explicit Pages(std::size_t count);
  ~Pages();
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;

  std::size_t count() const noexcept { return count_; }
  Word* page(std::size_t index) noexcept { return words_ + index * kWordsPerPage; }
  const Word* page(std::size_t index) const noexcept { return words_ + index * kWordsPerPage; }

 private:
  std::size_t count_;
  Word* words_;
};

/// An area as the checker walks it.
class Area {
 public:
  virtual ~Area() = default;
  virtual std::size_t pages() const noexcept = 0;
  /// Whether the page holds what it must.
  virtual bool holds(std::size_t page) const noexcept = 0;
};

/// Pages that stay as they were filled.
class StaticArea final : public Area {
 public:
  explicit StaticArea(std::size_t pages) : pages_(pages), hashes_(pages) {}
  /// Fills all pages from `path` (a disk with real files' content), from its beginning again if it is too short.
  bool fill_from(const std::string& path);
  void fill_with_random(Random& random);
  std::size_t pages() const noexcept override { return pages_.count(); }
  bool holds(std::size_t page) const noexcept override;
  const Word* page(std::size_t index) const noexcept { return pages_.page(index); }

 private:
  void remember();

  Pages pages_;
  std::vector<Word> hashes_;
};

/// How a page is rewritten.
enum class Load {
  kIdle,     ///< not at all
  kInPlace,  ///< a few words of a page change: counters, tables, indexes
  kPages,    ///< whole pages of real content: caches, buffers
  kRandom,   ///< whole pages of random bytes: encrypted or compressed data
  kRedis,    ///< no page of this program's own: a redis in the guest is under SETs (redis_load.h)
};
const char* name_of(Load load) noexcept;
bool parse_load(const std::string& name, Load& load) noexcept;

/// Pages that are rewritten.
class WriterArea final : public Area {
 public:
  /// `content` gives whole pages of real content; it outlives this.
  WriterArea(std::size_t pages, const StaticArea& content, Random random);
  /// Rewrites one page, chosen at random.
  void rewrite(Load load);
  /// Rewrites all pages as a long run of that load would leave them: random bytes, or else real content.
  void renew(Load load);
  std::size_t pages() const noexcept override { return pages_.count(); }
  bool holds(std::size_t page) const noexcept override;
  /// Rewrites since the start.
  Word writes() const noexcept { return writes_; }
  /// Whether the versions of all pages add up to the rewrites.
  bool adds_up() const noexcept;

 private:
  void write(std::size_t page, Load load);

  Pages pages_;
  std::vector<Word> versions_;
  Word writes_ = 0;
  const StaticArea& content_;
  Random random_;
};

/// What a process leaves that has exited: fills pages with content from `path`, `random_pages` of them with random
/// bytes instead, and gives all back to the kernel. False if the content could not be read, or did not stay while in
/// use.
bool leave_freed_memory(std::size_t pages, std::size_t random_pages, const std::string& path, Random& random);

}  // namespace godwit::guest
