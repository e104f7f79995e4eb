// Places pages in the memory of a guest that runs already: each as a whole, and none but those that are missing.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "engine/arrived_map.h"
#include "engine/missing_record.h"
#include "engine/page_placer.h"
#include "memory/missing_pages.h"
#include "wire/messages.h"

namespace godwit {

/// Any thread, except for add().
class MissingPlacer final : public PagePlacer {
 public:
  /// All outlive it. `on_all_there` is called once, from the thread that has put the last page in place.
  MissingPlacer(MissingPages& pages, const RamLayout& layout, std::function<void()> on_all_there);

  /// Before begin(), and before each of its later calls: more that is missing, each chunk after those before it.
  /// kProtocol if not.
  Status add(const wire::MissingMap& map);
  /// Before begin(): where to mark what comes.
  void mark_in(ArrivedMap arrived) { arrived_ = std::move(arrived); }
  /// Takes away from the hypervisor what was added since it was called last.
  Status begin();
  PageWord missing(ChunkIndex chunk) const noexcept { return words_[chunk.value].load(std::memory_order_acquire); }
  std::vector<PageWord> words() const;
  /// What was added since the first begin(), each chunk once.
  std::span<const MissingBesides> besides();
  std::uint64_t left() const noexcept { return left_.load(std::memory_order_acquire); }  ///< pages

  const RamLayout& layout() const noexcept override { return layout_; }
  /// What the guest may have written meanwhile is of no use to anybody.
  PageWord received(ChunkIndex) const noexcept override { return 0; }
  Status read(ChunkIndex chunk, unsigned page, MutableBytes out) const override;
  PageRoom room_for(ChunkIndex chunk, PageWord pages, MutableBytes own) override;
  Status placed(ChunkIndex chunk, const PageRoom& room) override { return place(chunk, room.pages, room.bytes); }
  Status place(ChunkIndex chunk, PageWord pages, Bytes in) override;
  Status change(ChunkIndex chunk, unsigned page, SubBlockMask mask, bool xored, const std::byte* in) override;
  Status discard(ChunkIndex chunk, PageWord pages) override;

 private:
  Status check_missing(ChunkIndex chunk, PageWord pages) const;
  void have_come(ChunkIndex chunk, PageWord pages);
  void merge_besides();

  MissingPages& pages_;
  const RamLayout& layout_;
  std::function<void()> on_all_there_;
  std::unique_ptr<std::atomic<PageWord>[]> words_;
  std::vector<PageWord> added_;  ///< since begin() was called last, by chunk
  ArrivedMap arrived_;
  bool begun_ = false;
  std::vector<MissingBesides> besides_;
  std::size_t merged_ = 0;      ///< of these: in order, each chunk once; the others are from a later map, in order, too
  std::uint64_t added_to_ = 0;  ///< the chunk after the last one that was added
  std::atomic<std::uint64_t> left_{0};
};

}  // namespace godwit
