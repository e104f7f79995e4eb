// What deltas save: bytes on the wire for each page that a guest has written, and what it costs to find them.
//
//   bench_delta SNAPSHOT...     images of the same RAM, a while apart (bench/delta/run takes them of a real guest)
//
// The first image is sent whole; from then on the pages that differ from the image before are what a tracker would have
// reported. Every contender goes through each image in turn, and what the sink holds is compared after each.
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <random>
#include <vector>

#include "base/cpu_account.h"
#include "codec/codec.h"
#include "engine/page_sorter.h"
#include "host/host_profile.h"
#include "memory/kernels.h"

namespace {

using namespace godwit;

[[noreturn]] void die(const char* what) {
  fmt::print(stderr, "{}: {}\n", what, std::strerror(errno));
  std::exit(1);
}

struct Image {
  const std::byte* bytes = nullptr;
  std::uint32_t chunks = 0;
  const std::byte* page(std::uint32_t chunk, unsigned page) const {
    return bytes + chunk * kChunkSize + page * kPageSize;
  }
};

Image map_image(const char* path) {
  const int file = ::open(path, O_RDONLY | O_CLOEXEC);
  struct stat about {};
  if (file < 0 || ::fstat(file, &about) != 0) die(path);
  const auto size = static_cast<std::size_t>(about.st_size);
  void* const at = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0);
  if (at == MAP_FAILED) die(path);
  ::close(file);
  return {static_cast<const std::byte*>(at), static_cast<std::uint32_t>(size / kChunkSize)};
}

struct Buffer {
  std::byte* bytes = static_cast<std::byte*>(std::aligned_alloc(64, kChunkSize));
  ~Buffer() { std::free(bytes); }
};

struct Sums {
  std::uint64_t pages = 0;
  std::uint64_t bytes = 0;
  std::uint64_t unchanged = 0;
  Duration cpu{};
};

/// The same in each run, so that runs can be compared.
const HashKey& some_key() {
  static const HashKey key = [] {
    HashKey made;
    std::mt19937_64 random(1);
    for (std::byte& byte : made.bytes()) byte = static_cast<std::byte>(random());
    return made;
  }();
  return key;
}

/// A lane without its connection: sorts, encodes, and keeps what the sink would hold.
class Contender {
 public:
  Contender(const char* contender_name, const Kernels& kernels, std::uint32_t chunks, std::size_t memory,
            bool old_pages)
      : name(contender_name),
        sorter_(kernels, {.key = some_key(), .memory = memory, .keep_old_pages = old_pages}, chunks, {}),
        encoder_(make_encoder({CodecId::kZstd, 1}).value()),
        decoder_(make_decoder(CodecId::kZstd).value()),
        sent_(chunks),
        held_(chunks * kChunkSize),
        kernels_(kernels) {}

  void send(const Image& image, std::uint32_t c, PageWord pages, Sums& sums) {
    std::byte* at = copy_.bytes;
    for_each_page(pages, [&](unsigned page) {
      std::memcpy(at, image.page(c, page), kPageSize);
      at += kPageSize;
    });
    const Duration began = thread_cpu_time();
    tail_.clear();
    const SortedPages sorted =
        sorter_.sort(ChunkIndex{c}, pages, pages & sent_[c], copy_.bytes, Effort::kDeltas, tail_);
    sent_[c] |= pages;
    std::byte* end = block_.bytes;
    const std::byte* from = copy_.bytes;
    for_each_page(pages, [&](unsigned page) {
      if ((sorted.whole >> page) & 1) end = std::copy_n(from, kPageSize, end);
      from += kPageSize;
    });
    const Bytes tail = tail_.finish();
    end = std::ranges::copy(tail, end).out;
    const Bytes block(block_.bytes, end);
    const EncodeJob job{0, block, {encoded_.bytes, block.size()}};
    EncodeDone done;
    if (!block.empty() && (!encoder_->submit({&job, 1}) || !encoder_->collect({&done, 1}, {}))) die("encode");
    sums.cpu += thread_cpu_time() - began;
    const bool anything = (pages & ~sorted.unchanged) != 0;
    const std::size_t payload = done.size != 0 ? done.size : block.size();
    sums.pages += page_count(pages);
    sums.unchanged += page_count(sorted.unchanged);
    sums.bytes += anything ? wire::kFrameHeaderSize + payload : 0;
    apply(c, sorted, block, done.size);
  }

  bool holds(const Image& image) const { return std::memcmp(held_.data(), image.bytes, held_.size()) == 0; }

  const char* name;

 private:
  void apply(std::uint32_t c, const SortedPages& sorted, Bytes block, std::size_t encoded) {
    if (encoded != 0) {
      if (!decoder_->decode({encoded_.bytes, encoded}, {copy_.bytes, block.size()})) die("decode");
      block = {copy_.bytes, block.size()};
    }
    const auto page_at = [&](unsigned page) { return held_.data() + c * kChunkSize + page * kPageSize; };
    const wire::FrameHeader header{.chunk = ChunkIndex{c},
                                   .data = sorted.whole,
                                   .fill = sorted.fill,
                                   .copies = sorted.copies,
                                   .delta = sorted.delta};
    const auto tail = wire::Tail::parse(header, block.subspan(wire::tail_offset(header))).value();
    const std::byte* from = block.data();
    for_each_page(sorted.whole, [&](unsigned page) {
      std::memcpy(page_at(page), from, kPageSize);
      from += kPageSize;
    });
    for_each_page(sorted.zero, [&](unsigned page) { std::memset(page_at(page), 0, kPageSize); });
    std::size_t i = 0;
    for_each_page(sorted.fill, [&](unsigned page) {
      const auto value = tail.fill(i++);
      for (std::size_t at = 0; at < kPageSize; at += sizeof value)
        std::memcpy(page_at(page) + at, &value, sizeof value);
    });
    i = 0;
    for_each_page(sorted.copies, [&](unsigned page) {
      const auto similar = tail.copy(i++);
      std::memcpy(page_at(page), held_.data() + similar.chunk.value * kChunkSize + similar.page * kPageSize, kPageSize);
    });
    i = 0;
    const std::byte* in = tail.sub_blocks().data();
    for_each_page(sorted.delta, [&](unsigned page) {
      const bool xored = ((sorted.xored >> page) & 1) != 0;
      in = (xored ? kernels_.scatter_xor : kernels_.scatter)(in, tail.mask(i++), page_at(page));
    });
  }

  struct Line {
    alignas(64) std::byte bytes[64];
  };
  PageSorter sorter_;
  std::unique_ptr<Encoder> encoder_;
  std::unique_ptr<Decoder> decoder_;
  std::vector<PageWord> sent_;
  struct Held {  ///< aligned for the kernels
    explicit Held(std::size_t size) : lines(size / sizeof(Line)) {}
    std::byte* data() { return lines.data()->bytes; }
    const std::byte* data() const { return lines.data()->bytes; }
    std::size_t size() const { return lines.size() * sizeof(Line); }
    std::vector<Line> lines;
  } held_;
  const Kernels& kernels_;
  wire::TailBuilder tail_;
  Buffer copy_, block_, encoded_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    fmt::print(stderr, "usage: bench_delta SNAPSHOT SNAPSHOT...\n");
    return 2;
  }
  std::vector<Image> images;
  for (int i = 1; i < argc; ++i) images.push_back(map_image(argv[i]));
  const auto chunks = images[0].chunks;
  const Kernels& kernels = best_kernels(probe_host());
  constexpr std::size_t kPlenty = std::size_t{4} << 30;
  std::vector<std::unique_ptr<Contender>> contenders;
  contenders.push_back(std::make_unique<Contender>("whole pages", kernels, chunks, 0, false));
  contenders.push_back(std::make_unique<Contender>("sub-blocks", kernels, chunks, kPlenty, false));
  contenders.push_back(std::make_unique<Contender>("sub-blocks, old pages", kernels, chunks, kPlenty, true));
  std::vector<Sums> first(contenders.size()), later(contenders.size());
  for (std::size_t i = 0; i < images.size(); ++i) {
    if (images[i].chunks != chunks) die("images of different sizes");
    for (std::uint32_t c = 0; c < chunks; ++c) {
      PageWord pages = 0;
      for (unsigned page = 0; page < kPagesPerChunk; ++page) {
        static const std::byte zeros[kPageSize] = {};
        const std::byte* const before = i == 0 ? zeros : images[i - 1].page(c, page);
        if (std::memcmp(images[i].page(c, page), before, kPageSize) != 0) pages |= PageWord{1} << page;
      }
      if (pages == 0) continue;
      for (std::size_t k = 0; k < contenders.size(); ++k) {
        contenders[k]->send(images[i], c, pages, i == 0 ? first[k] : later[k]);
      }
    }
    for (const auto& each : contenders) {
      if (each->holds(images[i])) continue;
      fmt::print(stderr, "{}: the sink holds other bytes than image {}\n", each->name, i);
      return 1;
    }
  }
  fmt::print("{} pages at first, {} written later\n\n", first[0].pages, later[0].pages);
  fmt::print("| contender | bytes a page, first | later | to whole pages | ns a page, first | later |\n");
  fmt::print("|---|---|---|---|---|---|\n");
  for (std::size_t k = 0; k < contenders.size(); ++k) {
    const auto per_page = [](auto sum, const Sums& of) {
      return static_cast<double>(sum) / static_cast<double>(of.pages);
    };
    fmt::print("| {} | {:.0f} | {:.0f} | {:.2f} | {:.0f} | {:.0f} |\n", contenders[k]->name,
               per_page(first[k].bytes, first[k]), per_page(later[k].bytes, later[k]),
               static_cast<double>(later[k].bytes) / static_cast<double>(later[0].bytes),
               per_page(first[k].cpu.count(), first[k]), per_page(later[k].cpu.count(), later[k]));
  }
  return 0;
}
