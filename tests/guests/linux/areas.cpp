// See areas.h.
#include "areas.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>

namespace godwit::guest {
namespace {

// A page of a WriterArea: number, version, then the body, then the hash of all before it.
constexpr std::size_t kNumberWord = 0;
constexpr std::size_t kVersionWord = 1;
constexpr std::size_t kBodyBegin = 2;
constexpr std::size_t kHashWord = kWordsPerPage - 1;
constexpr Word kNumberMark = 0x676f647769740000;  // so that page 0 does not begin with zeros

// An update in place touches this many words: a row's counter, its time stamp and an index entry.
constexpr int kWordsPerUpdate = 3;

// One read of the disk: large enough to be fast under emulation, small enough for any queue.
constexpr std::size_t kReadBytes = std::size_t{1} << 20;

// Freed memory has its random bytes in runs of so many pages.
constexpr std::size_t kFreedRun = 64;

/// Reads past the page cache, so that only the memory asked for holds the content. Calls after_piece(bytes so far)
/// after each piece.
template <typename AfterPiece>
bool read_pages(const std::string& path, void* into, std::size_t bytes, AfterPiece&& after_piece) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
  if (fd < 0) {
    std::perror(path.c_str());
    return false;
  }
  auto* out = static_cast<char*>(into);
  off_t from = 0;
  std::size_t done = 0;
  while (done < bytes) {
    const ssize_t got = ::pread(fd, out + done, std::min(kReadBytes, bytes - done), from);
    if (got < 0 || (got == 0 && from == 0) || got % static_cast<ssize_t>(kPageSize) != 0) {
      std::perror("read of the content disk");
      ::close(fd);
      return false;
    }
    done += static_cast<std::size_t>(got);
    from = got == 0 ? 0 : from + got;
    after_piece(done);
  }
  ::close(fd);
  return true;
}

}  // namespace

Word Random::next() noexcept {  // splitmix64
  state_ += 0x9e3779b97f4a7c15;
  Word z = state_;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

Word hash_of(const Word* words, std::size_t count) noexcept {
  Word hash = count;
  for (std::size_t i = 0; i < count; ++i) {
    hash = std::rotl(hash ^ words[i], 29) * 0x9e3779b97f4a7c15;
  }
  return hash ^ (hash >> 32);
}

Pages::Pages(std::size_t count) : count_(count), words_(nullptr) {
  if (count == 0) {
    return;
  }
  void* memory =
      ::mmap(nullptr, count * kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) {
    std::perror("mmap");
    std::abort();
  }
  words_ = static_cast<Word*>(memory);
}

Pages::~Pages() {
  if (words_ != nullptr) {
    ::munmap(words_, count_ * kPageSize);
  }
}

bool StaticArea::fill_from(const std::string& path) {
  if (pages() > 0 && !read_pages(path, pages_.page(0), pages() * kPageSize, [](std::size_t) {})) {
    return false;
  }
  remember();
  return true;
}

void StaticArea::fill_with_random(Random& random) {
  for (std::size_t i = 0; i < pages(); ++i) {
    std::generate_n(pages_.page(i), kWordsPerPage, [&random] { return random.next(); });
  }
  remember();
}

void StaticArea::remember() {
  for (std::size_t i = 0; i < pages(); ++i) {
    hashes_[i] = hash_of(pages_.page(i), kWordsPerPage);
  }
}

bool StaticArea::holds(std::size_t page) const noexcept {
  return hash_of(pages_.page(page), kWordsPerPage) == hashes_[page];
}

const char* name_of(Load load) noexcept {
  switch (load) {
    case Load::kIdle:
      return "idle";
    case Load::kInPlace:
      return "inplace";
    case Load::kPages:
      return "pages";
    case Load::kRandom:
      return "random";
    case Load::kRedis:
      return "redis";
  }
  return "?";
}

bool parse_load(const std::string& name, Load& load) noexcept {
  for (const Load each : {Load::kIdle, Load::kInPlace, Load::kPages, Load::kRandom, Load::kRedis}) {
    if (name == name_of(each)) {
      load = each;
      return true;
    }
  }
  return false;
}

WriterArea::WriterArea(std::size_t pages, const StaticArea& content, Random random)
    : pages_(pages), versions_(pages), content_(content), random_(random) {
  renew(Load::kPages);
}

void WriterArea::rewrite(Load load) {
  if (load != Load::kIdle && load != Load::kRedis && pages() > 0) {
    write(static_cast<std::size_t>(random_.below(pages())), load);
  }
}

void WriterArea::renew(Load load) {
  for (std::size_t i = 0; i < pages(); ++i) {
    write(i, load == Load::kRandom ? Load::kRandom : Load::kPages);
  }
}

void WriterArea::write(std::size_t page, Load load) {
  Word* words = pages_.page(page);
  if (load == Load::kInPlace) {
    for (int i = 0; i < kWordsPerUpdate; ++i) {
      words[kBodyBegin + random_.below(kHashWord - kBodyBegin)] += 1 + (random_.next() & 0xff);
    }
  } else if (load == Load::kPages && content_.pages() > 0) {
    std::memcpy(words, content_.page(random_.below(content_.pages())), kPageSize);
  } else {
    std::generate(words + kBodyBegin, words + kHashWord, [this] { return random_.next(); });
  }
  words[kNumberWord] = kNumberMark + page;
  words[kVersionWord] = ++versions_[page];
  words[kHashWord] = hash_of(words, kHashWord);
  ++writes_;
}

bool WriterArea::holds(std::size_t page) const noexcept {
  const Word* words = pages_.page(page);
  return words[kNumberWord] == kNumberMark + page && words[kVersionWord] == versions_[page] &&
         words[kHashWord] == hash_of(words, kHashWord);
}

bool WriterArea::adds_up() const noexcept {
  return std::accumulate(versions_.begin(), versions_.end(), Word{0}) == writes_;
}

bool leave_freed_memory(std::size_t pages, std::size_t random_pages, const std::string& path, Random& random) {
  if (pages == 0) return true;
  Pages memory(pages);
  // Somebody may take these pages for free ones. So they must come as zeros, and from then on every page carries a
  // mark, before its content is read and after.
  const auto mark = [&](std::size_t page) { memory.page(page)[0] = kNumberMark + page; };
  std::size_t wrong = 0;
  const auto check = [&](std::size_t page) { wrong += memory.page(page)[0] != kNumberMark + page ? 1 : 0; };
  for (std::size_t page = 0; page < pages; ++page) {
    wrong += memory.page(page)[0] != 0 ? 1 : 0;
    mark(page);
  }
  std::size_t marked = 0;
  const bool read = read_pages(path, memory.page(0), pages * kPageSize, [&](std::size_t bytes) {
    for (; marked < bytes / kPageSize; ++marked) mark(marked);
    for (std::size_t page = marked; page < std::min(marked + kReadBytes / kPageSize, pages); ++page) check(page);
  });
  // In runs all over it: what is freed last stays with the CPU that freed it, and must be like the rest.
  const auto random_runs_before = [&](std::size_t run) { return run * random_pages / pages; };
  for (std::size_t page = 0; page < pages; ++page) {
    check(page);
    const std::size_t run = page / kFreedRun;
    if (random_runs_before(run) == random_runs_before(run + 1)) continue;
    std::generate(memory.page(page) + 1, memory.page(page) + kWordsPerPage, [&random] { return random.next(); });
  }
  for (std::size_t page = 0; page < pages; ++page) check(page);
  if (wrong > 0) std::fprintf(stderr, "GODWIT-GUEST ERROR: %zu pages lost their content while in use\n", wrong);
  return read && wrong == 0;
}

}  // namespace godwit::guest
