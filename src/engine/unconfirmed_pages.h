// Pages that lanes have taken off the board and of which the sink has not told yet that it has applied them: if the
// link is lost, nobody knows what became of them, and they go once more.
//
//   claimed --add()--> since the last fence --fence()--> before it --its answer: confirm()--> known to be there
//                             \______________________________\_______link lost: take()--> board
//
// A page may be in both: it was sent before the fence, and is sent again.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>
#include <memory>

#include "engine/lane_shares.h"
#include "memory/page.h"

namespace godwit {

/// A chunk's words are changed by the lane that owns it. The coordinator changes them when no lane does: confirm() once
/// every lane has sent the latest fence and the sink has answered it, take() when there is no lane.
class UnconfirmedPages {
 public:
  explicit UnconfirmedPages(std::uint32_t chunk_count) : since_(chunk_count), before_(chunk_count) {}

  /// Before anything of them is sent.
  void add(ChunkIndex chunk, PageWord pages) noexcept { since_.add(chunk.value, pages); }
  /// The lane has sent what it has claimed, and sends a fence now.
  void fence(unsigned lane, const LaneShares& shares) noexcept {
    since_.for_each([&](std::uint32_t chunk) {
      if (shares.lane_of(ChunkIndex{chunk}) == lane) before_.add(chunk, since_.take(chunk));
    });
  }
  void confirm() noexcept {
    before_.for_each([&](std::uint32_t chunk) { before_.take(chunk); });
  }
  /// All of them, `act(chunk, pages)` for each chunk that has any.
  template <typename Act>
  void take(Act act) {
    before_.for_each([&](std::uint32_t chunk) { since_.add(chunk, before_.take(chunk)); });
    since_.for_each([&](std::uint32_t chunk) { act(ChunkIndex{chunk}, since_.take(chunk)); });
  }

 private:
  /// A page word for each chunk, and a bit that tells whether there is anything in it: most have nothing.
  class Words {
   public:
    explicit Words(std::uint32_t count)
        : words_(std::make_unique<std::atomic<PageWord>[]>(count)),
          groups_((count + 63) / 64),
          any_(std::make_unique<std::atomic<std::uint64_t>[]>(groups_)) {}
    void add(std::uint32_t chunk, PageWord pages) noexcept {
      auto& word = words_[chunk];
      const PageWord before = word.load(std::memory_order_relaxed);
      word.store(before | pages, std::memory_order_relaxed);
      // A group has chunks of several lanes.
      if (before == 0) any_[chunk / 64].fetch_or(std::uint64_t{1} << chunk % 64, std::memory_order_relaxed);
    }
    PageWord take(std::uint32_t chunk) noexcept {
      const PageWord pages = words_[chunk].load(std::memory_order_relaxed);
      words_[chunk].store(0, std::memory_order_relaxed);
      any_[chunk / 64].fetch_and(~(std::uint64_t{1} << chunk % 64), std::memory_order_relaxed);
      return pages;
    }
    template <typename Act>
    void for_each(Act act) const {
      for (std::uint32_t group = 0; group < groups_; ++group) {
        for (auto left = any_[group].load(std::memory_order_relaxed); left != 0; left &= left - 1) {
          act(group * 64 + static_cast<std::uint32_t>(std::countr_zero(left)));
        }
      }
    }

   private:
    std::unique_ptr<std::atomic<PageWord>[]> words_;
    std::uint32_t groups_;
    std::unique_ptr<std::atomic<std::uint64_t>[]> any_;
  };

  Words since_;
  Words before_;
};

}  // namespace godwit
