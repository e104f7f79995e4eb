// A key, or a line of text that has one: when this object is done with it, nothing of it is left in memory.
//
// The bytes are in the object itself, whose room is for the longest such line: what grows on the heap leaves copies
// behind. It is moved and not copied, and what it was moved from is empty.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

#include "base/bytes.h"

namespace godwit {

class KeyBytes {
 public:
  /// An identity of 64 letters and a key of 64 bytes as digits, and as much again.
  static constexpr std::size_t kMost = 512;

  KeyBytes() noexcept = default;
  /// So many equal bytes, kMost at most.
  explicit KeyBytes(std::size_t size, unsigned char value = 0) noexcept;
  KeyBytes(KeyBytes&& other) noexcept;
  KeyBytes& operator=(KeyBytes&& other) noexcept;
  ~KeyBytes() { wipe(); }

  /// False, and nothing is added, where they do not fit.
  bool add(Bytes bytes) noexcept;
  /// For whoever fills in what follows, and says by taken() how much that is.
  MutableBytes room() noexcept;
  void taken(std::size_t bytes) noexcept { size_ += bytes; }
  void wipe() noexcept;

  unsigned char* data() noexcept { return bytes_.data(); }
  const unsigned char* data() const noexcept { return bytes_.data(); }
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  MutableBytes bytes() noexcept;
  Bytes bytes() const noexcept;
  std::string_view text() const noexcept { return text_of(bytes()); }

 private:
  std::array<unsigned char, kMost> bytes_{};
  std::size_t size_ = 0;
};

}  // namespace godwit
