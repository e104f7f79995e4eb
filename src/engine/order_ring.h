// What one lane has under way with a codec that may answer later, in the order in which it came.
//
//   spare --> filled --push()--> | newest | at the codec | ready | ... | oldest | --ready: leaves--> spare
//
// Codecs answer in any order, but an item leaves as the oldest only: frames build on those before them (a newer version
// of a page, a delta, a reference to another page), at the source as at the sink.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

namespace godwit {

enum class ItemState {
  kSpare,
  kAtCodec,  ///< its bytes are the codec's
  kReady,    ///< to leave
};

/// Owned by one lane. Declared before its codecs: they work on the items to their end. An Item has a `state` and a
/// `ticket`, which is its own from the beginning.
template <typename Item>
class OrderRing {
 public:
  OrderRing() { grow(1); }
  /// So many items may be under way from now on, if it was less.
  void grow(std::size_t depth) {
    while (items_.size() < depth) {
      const std::uint64_t ticket = items_.size();
      items_.emplace_back().ticket = ticket;
      spare_.push_back(&items_.back());
    }
  }

  /// An item to fill, which has no place yet; null while all are under way.
  Item* spare() noexcept { return spare_.empty() ? nullptr : spare_.back(); }
  /// spare()'s item takes its place behind all others.
  void push() noexcept {
    under_way_.push_back(spare_.back());
    spare_.pop_back();
  }
  /// The next one to leave, once it is ready; null if none is under way.
  Item* oldest() noexcept { return under_way_.empty() ? nullptr : under_way_.front(); }
  void drop_oldest() noexcept {
    under_way_.front()->state = ItemState::kSpare;
    spare_.push_back(under_way_.front());
    under_way_.pop_front();
  }

  /// Null if there is no such ticket.
  Item* find(std::uint64_t ticket) noexcept { return ticket < items_.size() ? &items_[ticket] : nullptr; }
  const std::deque<Item*>& under_way() const noexcept { return under_way_; }

 private:
  std::deque<Item> items_;  ///< never move
  std::vector<Item*> spare_;
  std::deque<Item*> under_way_;  ///< the oldest first
};

}  // namespace godwit
