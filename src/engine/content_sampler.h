// What pages of a guest would cost to send, tried on some of them: sorted and encoded as a lane would, at every codec
// level, and sent nowhere.
//
//   a few chunks --read, sort--> block --each encoder--> bytes on the wire, nanoseconds of a CPU
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "codec/codec.h"
#include "engine/forecast.h"
#include "engine/page_sorter.h"
#include "memory/guest_memory.h"

namespace godwit {

/// What a page costs, of those that were tried.
struct PageCost {
  Estimate bytes;
  Estimate cpu_seconds;  ///< of one CPU
};

/// What many pages were found to cost at each codec level.
class ContentCosts {
 public:
  void add(std::size_t pages, const std::vector<double>& bytes, const std::vector<double>& cpu_seconds);
  std::uint64_t pages() const noexcept { return pages_; }
  /// By the mixture of two levels that is the fastest over a link of this rate with so many CPUs, as the governor finds
  /// it; nothing where no page was tried.
  std::optional<PageCost> at(double bytes_per_second, double cpus) const;

 private:
  /// A standard error, as a share, of the bytes at a level.
  double doubt(std::size_t level) const;

  std::uint64_t pages_ = 0;
  std::uint64_t blocks_ = 0;
  std::vector<double> bytes_;
  std::vector<double> squares_;  ///< of bytes a page of each block
  std::vector<double> cpu_;
};

/// One thread's.
class ContentSampler {
 public:
  /// `memory` outlives it. `codec`: none: all levels that `auto` chooses from.
  static Result<std::unique_ptr<ContentSampler>> make(const GuestMemory& memory, const Kernels& kernels,
                                                      const HashKey& key, std::optional<CodecChoice> codec);

  /// Pages as they are sent for the first time.
  Status try_first(ChunkIndex chunk, PageWord pages);
  /// Only takes note of what they hold now.
  Status note(ChunkIndex chunk, PageWord pages);
  /// Those of the pages that were tried or noted before: as they are sent when they have been written since.
  Status try_again(ChunkIndex chunk, PageWord pages);

  const ContentCosts& first() const noexcept { return first_; }
  const ContentCosts& again() const noexcept { return again_; }

 private:
  ContentSampler(const GuestMemory& memory, const Kernels& kernels, const HashKey& key);
  Status take(ChunkIndex chunk, PageWord pages, PageWord resent, ContentCosts* costs);

  const GuestMemory& memory_;
  PageSorter sorter_;
  std::vector<std::unique_ptr<Encoder>> encoders_;  ///< null: raw
  std::vector<PageWord> seen_;
  std::unique_ptr<std::byte, void (*)(std::byte*)> buffer_;
  std::vector<std::byte> encoded_;
  wire::TailBuilder tail_;
  ContentCosts first_;
  ContentCosts again_;
};

}  // namespace godwit
