#include "corpus.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <string>

namespace godwit::bench {

namespace {

constexpr std::size_t kPage = 4096;
using Buffer = std::vector<std::byte>;

/// Up to `size` bytes of the files below the folders, in the order of their names: of each file at most `most`, so that
/// a few large ones are not the whole sample.
Buffer bytes_of_files(const std::vector<std::string>& folders, std::size_t size, std::size_t most,
                      const std::function<bool(const std::filesystem::path&)>& wanted) {
  std::vector<std::filesystem::path> paths;
  std::error_code error;
  for (const auto& folder : folders) {
    using Walk = std::filesystem::recursive_directory_iterator;
    for (auto at = Walk(folder, std::filesystem::directory_options::skip_permission_denied, error); at != Walk();
         at.increment(error)) {
      if (error) break;
      if (at->is_regular_file(error) && !at->is_symlink(error) && wanted(at->path())) paths.push_back(at->path());
    }
  }
  std::ranges::sort(paths);
  // Not the alphabet's beginning only: a sample from all over.
  std::ranges::shuffle(paths, std::mt19937_64(7));
  Buffer bytes;
  for (const auto& path : paths) {
    if (bytes.size() >= size) break;
    std::string content(std::min(size - bytes.size(), most), '\0');
    std::ifstream file(path, std::ios::binary);
    file.read(content.data(), static_cast<std::streamsize>(content.size()));
    const Bytes read = bytes_of(content).first(static_cast<std::size_t>(file.gcount()));
    bytes.insert(bytes.end(), read.begin(), read.end());
    // As in a page cache, the rest of a file's last page is zero.
    bytes.resize((bytes.size() + kPage - 1) / kPage * kPage);
  }
  bytes.resize(std::min(bytes.size(), size));
  return bytes;
}

Buffer random_bytes(std::size_t size, std::mt19937_64& random) {
  Buffer bytes(size);
  for (std::size_t at = 0; at + 8 <= size; at += 8) {
    const std::uint64_t word = random();
    std::memcpy(&bytes[at], &word, 8);
  }
  return bytes;
}

/// Samples, floating-point numbers, densely packed records: no repeats, but bytes that are not equally likely. Some
/// runs have more of that than others.
Buffer weak_bytes(std::size_t size, std::mt19937_64& random) {
  Buffer bytes(size);
  for (std::size_t run = 0; run < size; run += 64 * kPage) {
    const std::size_t end = std::min(size, run + 64 * kPage);
    const unsigned fields = 1 + static_cast<unsigned>(random() % 3);  // of 8 bytes, those with few values
    for (std::size_t at = run; at + 8 <= end; at += 8) {
      std::uint64_t word = random();
      std::uint64_t few = 0;
      for (unsigned field = 0; field < fields; ++field) few |= std::uint64_t{0xe0} << (8 * (7 - field));
      word &= ~few;
      std::memcpy(&bytes[at], &word, 8);
    }
  }
  return bytes;
}

/// Page tables, heaps with holes, sparse arrays: a few pointers that resemble each other in each page.
Buffer sparse_bytes(std::size_t size, std::mt19937_64& random) {
  Buffer bytes(size);
  for (std::size_t page = 0; page + kPage <= size; page += kPage) {
    const std::uint64_t base = 0x7f0000000000 + (random() & 0xffffff000);
    const std::size_t words = 4 + random() % 120;
    for (std::size_t i = 0; i < words; ++i) {
      const std::uint64_t word = base + (random() & 0xffff8);
      std::memcpy(&bytes[page + random() % (kPage / 8) * 8], &word, 8);
    }
  }
  return bytes;
}

}  // namespace

std::vector<std::byte> make_corpus(std::size_t blocks) {
  std::mt19937_64 random(1);
  const std::size_t size = blocks * kBlock;
  const auto share = [&](std::size_t percent) { return size * percent / 100 / kPage * kPage; };
  const auto ends_with = [](const std::filesystem::path& path, std::string_view end) {
    return path.native().ends_with(end);
  };
  const auto packed = [&](const std::filesystem::path& path) {
    return ends_with(path, ".gz") || ends_with(path, ".xz") || ends_with(path, ".png");
  };
  std::array<Buffer, 6> sorts = {
      bytes_of_files({"/usr/include", "/usr/share"}, share(22), 256 * kPage,
                     [&](const std::filesystem::path& path) { return !packed(path); }),
      bytes_of_files({"/usr/bin", "/usr/lib"}, share(35), 512 * kPage,
                     [&](const std::filesystem::path& path) { return !packed(path); }),
      sparse_bytes(share(11), random),
      weak_bytes(share(10), random),
      bytes_of_files({"/usr/share"}, share(12), 256 * kPage, packed),
      {},
  };
  // Where there are few compressed files, random bytes stand for them: both tell a codec nothing.
  std::size_t total = 0;
  for (const Buffer& sort : sorts) total += sort.size();
  if (total < size * 7 / 10) return {};
  sorts[5] = random_bytes(size - total, random);

  // Runs of 16 to 512 pages, the sort of each by how much of it is left.
  Buffer corpus;
  corpus.reserve(size);
  std::array<std::size_t, sorts.size()> at{};
  while (corpus.size() < size) {
    std::uint64_t pick = random() % ((size - corpus.size()) / kPage);
    std::size_t sort = 0;
    for (; pick >= (sorts[sort].size() - at[sort]) / kPage; ++sort) pick -= (sorts[sort].size() - at[sort]) / kPage;
    const std::size_t pages = std::size_t{16} << (random() % 6);
    const std::size_t run = std::min(pages * kPage, sorts[sort].size() - at[sort]);
    const auto begin = sorts[sort].begin() + static_cast<std::ptrdiff_t>(at[sort]);
    corpus.insert(corpus.end(), begin, begin + static_cast<std::ptrdiff_t>(run));
    at[sort] += run;
  }
  corpus.resize(size);
  return corpus;
}

}  // namespace godwit::bench
