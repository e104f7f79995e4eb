#include "engine/content_sampler.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "base/cpu_account.h"
#include "engine/codec_levels.h"
#include "wire/frame.h"

namespace godwit {

namespace {

// For the few chunks that are tried.
constexpr std::size_t kSamplerDeltaMemory = 32u << 20;
// The last level saves hardly more than the one before for twice the time: `auto` all but never takes it.
constexpr std::size_t kTriedLevels = kCodecLevels - 1;
// What the kernel's copy into a socket takes.
constexpr double kSendSecondsPerByte = 0.3e-9;
constexpr double kLeastCostDoubt = 0.03;
constexpr double kCpuDoubt = 0.15;

double cpu_now() {
  return std::chrono::duration<double>(thread_cpu_time()).count();
}

/// A page's cost with a share of one level and the rest of another.
struct Mixture {
  double bytes = 0;
  double cpu = 0;
};

}  // namespace

void ContentCosts::add(std::size_t pages, const std::vector<double>& bytes, const std::vector<double>& cpu_seconds) {
  bytes_.resize(bytes.size());
  squares_.resize(bytes.size());
  cpu_.resize(bytes.size());
  pages_ += pages;
  ++blocks_;
  for (std::size_t l = 0; l < bytes.size(); ++l) {
    bytes_[l] += bytes[l];
    squares_[l] += bytes[l] * bytes[l] / static_cast<double>(pages);
    cpu_[l] += cpu_seconds[l] + kSendSecondsPerByte * bytes[l];
  }
}

double ContentCosts::doubt(std::size_t level) const {
  const double n = static_cast<double>(pages_);
  const double mean = bytes_[level] / n;
  if (mean <= 0) return kLeastCostDoubt;
  const double variance = std::max(squares_[level] / n - mean * mean, 0.0);
  // Twice the standard error: chunks next to each other are alike, pages of one chunk even more so.
  return kLeastCostDoubt + 2 * std::sqrt(variance / static_cast<double>(blocks_)) / mean;
}

std::optional<PageCost> ContentCosts::at(double bytes_per_second, double cpus) const {
  if (pages_ == 0) return std::nullopt;
  const double n = static_cast<double>(pages_);
  const auto time = [&](const Mixture& m) {
    const double link = bytes_per_second > 0 ? m.bytes / bytes_per_second : 0;
    return std::max(link, m.cpu / std::max(cpus, 0.1));
  };
  Mixture best{bytes_[0] / n, cpu_[0] / n};
  std::size_t best_level = 0;
  constexpr int kShares = 20;
  for (std::size_t a = 0; a < bytes_.size(); ++a) {
    for (std::size_t b = a; b < bytes_.size(); ++b) {
      for (int i = 0; i <= kShares; ++i) {
        const double share = static_cast<double>(i) / kShares;
        const Mixture m{(share * bytes_[a] + (1 - share) * bytes_[b]) / n,
                        (share * cpu_[a] + (1 - share) * cpu_[b]) / n};
        if (time(m) >= time(best)) continue;
        best = m;
        best_level = share > 0.5 ? a : b;
      }
    }
  }
  return PageCost{Estimate::about(best.bytes, doubt(best_level)), Estimate::about(best.cpu, kCpuDoubt)};
}

ContentSampler::ContentSampler(const GuestMemory& memory, const Kernels& kernels, const HashKey& key)
    : memory_(memory),
      sorter_(kernels, {.key = key, .memory = kSamplerDeltaMemory}, memory.layout().chunk_count(), {}),
      seen_(memory.layout().chunk_count()),
      buffer_(static_cast<std::byte*>(std::aligned_alloc(64, kChunkSize)), [](std::byte* p) { std::free(p); }),
      encoded_(kChunkSize) {}

Result<std::unique_ptr<ContentSampler>> ContentSampler::make(const GuestMemory& memory, const Kernels& kernels,
                                                             const HashKey& key, std::optional<CodecChoice> codec) {
  std::unique_ptr<ContentSampler> sampler(new ContentSampler(memory, kernels, key));
  std::vector<CodecChoice> choices;
  if (codec) {
    choices.push_back(*codec);
  } else {
    const auto levels = codec_levels().first(kTriedLevels);
    choices.assign(levels.begin(), levels.end());
  }
  for (const auto& choice : choices) sampler->encoders_.push_back(TRY(make_encoder(choice)));
  return sampler;
}

Status ContentSampler::try_first(ChunkIndex chunk, PageWord pages) {
  return take(chunk, pages & ~seen_[chunk.value], 0, &first_);
}

Status ContentSampler::note(ChunkIndex chunk, PageWord pages) {
  return take(chunk, pages, seen_[chunk.value] & pages, nullptr);
}

Status ContentSampler::try_again(ChunkIndex chunk, PageWord pages) {
  const PageWord known = pages & seen_[chunk.value];
  return take(chunk, known, known, &again_);
}

Status ContentSampler::take(ChunkIndex chunk, PageWord pages, PageWord resent, ContentCosts* costs) {
  if (pages == 0) return {};
  const double began = cpu_now();
  std::byte* const copy = buffer_.get();
  const std::size_t count = page_count(pages);
  TRY(memory_.read(chunk, pages, {copy, count * kPageSize}));
  tail_.clear();
  const SortedPages sorted = sorter_.sort(chunk, pages, resent, copy, Effort::kDeltas, tail_);
  seen_[chunk.value] |= pages;
  if (costs == nullptr) return {};
  // The block: whole pages, then the small parts.
  std::size_t at = 0;
  std::size_t from = 0;
  for_each_page(pages, [&](unsigned page) {
    if ((sorted.whole >> page & 1) != 0) {
      std::memmove(copy + at, copy + from, kPageSize);
      at += kPageSize;
    }
    from += kPageSize;
  });
  const Bytes tail = tail_.finish();
  std::memcpy(copy + at, tail.data(), tail.size());
  const std::size_t block = at + tail.size();
  const double sorting = cpu_now() - began;
  const bool named = (sorted.whole | sorted.zero | sorted.fill | sorted.copies | sorted.delta) != 0;
  std::vector<double> bytes;
  std::vector<double> cpu;
  for (const auto& encoder : encoders_) {
    std::size_t size = block;
    const double begin = cpu_now();
    if (encoder && block > 0) {
      const EncodeJob job{0, {copy, block}, {encoded_.data(), block}};
      EncodeDone done;
      TRY(encoder->submit({&job, 1}));
      if (TRY(encoder->poll({&done, 1})) == 1 && done.size > 0) size = done.size;
    }
    bytes.push_back(static_cast<double>(size + (named ? wire::kFrameHeaderSize : 0)));
    cpu.push_back(sorting + cpu_now() - begin);
  }
  costs->add(count, bytes, cpu);
  return {};
}

}  // namespace godwit
