// What something takes on a host where whoever does it is now and then held up: the least of the latest few times.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>

namespace godwit {

template <typename Value, std::size_t kLatest>
class LeastOfLatest {
 public:
  void add(Value value) noexcept {
    latest_[count_ % kLatest] = value;
    ++count_;
  }
  std::optional<Value> least() const noexcept {
    if (count_ == 0) return std::nullopt;
    return *std::min_element(latest_.begin(), latest_.begin() + std::min(count_, kLatest));
  }
  /// As many as count.
  bool full() const noexcept { return count_ >= kLatest; }

 private:
  std::array<Value, kLatest> latest_{};
  std::size_t count_ = 0;
};

}  // namespace godwit
