#include "postcopy/pages_there.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace godwit {

namespace {

// Of /proc/PID/pagemap: 64 bits a page. The kernel's page of zeros is present, too.
constexpr std::uint64_t kPresent = std::uint64_t{1} << 63;
constexpr std::uint64_t kSwapped = std::uint64_t{1} << 62;

/// The words of a range.
std::span<PageWord> those_of(const MissingRange& range, std::span<PageWord> missing) {
  const std::uint64_t chunks = range.chunks();
  const std::uint64_t first = std::min<std::uint64_t>(range.first_chunk.value, missing.size());
  return missing.subspan(first, std::min<std::uint64_t>(chunks, missing.size() - first));
}

Status clear_in_page_table(int pagemap, const MissingRange& range, std::span<PageWord> words) {
  std::array<std::uint64_t, kPagesPerChunk> entries;
  for (std::size_t c = 0; c < words.size(); ++c) {
    if (words[c] == 0) continue;
    const std::uint64_t begin = c * kChunkSize;
    const std::size_t pages = std::min<std::uint64_t>(range.length - begin, kChunkSize) / kPageSize;
    const auto at = static_cast<off_t>((range.address + begin) / kPageSize * sizeof(std::uint64_t));
    const ssize_t wanted = static_cast<ssize_t>(pages * sizeof(std::uint64_t));
    if (const ssize_t got = ::pread(pagemap, entries.data(), static_cast<std::size_t>(wanted), at); got != wanted) {
      if (got >= 0) return fail(ErrorKind::kPeerLost, "the destination's QEMU has ended");
      return fail_os("look which pages are there");
    }
    for (std::size_t page = 0; page < pages; ++page) {
      if ((entries[page] & (kPresent | kSwapped)) != 0) words[c] &= ~(PageWord{1} << page);
    }
  }
  return {};
}

void clear_pages(std::span<PageWord> words, std::uint64_t first, std::uint64_t end) {
  for (std::uint64_t page = first; page < end; ++page) {
    words[page / kPagesPerChunk] &= ~(PageWord{1} << (page % kPagesPerChunk));
  }
}

/// KERNEL: of a file in memory what is swapped out is data as well.
Status clear_in_file(const MissingRange& range, std::span<PageWord> words) {
  const auto base = static_cast<off_t>(range.file_offset);
  const off_t end = base + static_cast<off_t>(range.length);
  for (off_t at = base; at < end;) {
    const off_t data = ::lseek(range.file.get(), at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) return {};
    if (data < 0) return fail_os("look which pages are there");
    if (data >= end) return {};
    const off_t hole = ::lseek(range.file.get(), data, SEEK_HOLE);
    if (hole < 0) return fail_os("look which pages are there");
    at = std::min(hole, end);
    clear_pages(words, static_cast<std::uint64_t>(data - base) / kPageSize,
                static_cast<std::uint64_t>(at - base) / kPageSize);
  }
  return {};
}

}  // namespace

Status clear_those_there(const RemoteProcess& process, const std::vector<MissingRange>& ranges,
                         std::span<PageWord> missing) {
  const UniqueFd pagemap = TRY(process.open_pagemap());
  for (const auto& range : ranges) {
    const auto words = those_of(range, missing);
    // A huge page that is mapped has come as a whole, and the guest may have written to it; of the others the file
    // has, too, what has not come.
    TRY(range.file && !range.is_huge() ? clear_in_file(range, words)
                                       : clear_in_page_table(pagemap.get(), range, words));
  }
  return {};
}

}  // namespace godwit
