#include "base/key_bytes.h"

#include <string.h>

#include <algorithm>
#include <span>

namespace godwit {

KeyBytes::KeyBytes(std::size_t size, unsigned char value) noexcept : size_(std::min(size, kMost)) {
  std::fill_n(bytes_.begin(), size_, value);
}

KeyBytes::KeyBytes(KeyBytes&& other) noexcept {
  add(other.bytes());
  other.wipe();
}

KeyBytes& KeyBytes::operator=(KeyBytes&& other) noexcept {
  if (this == &other) return *this;
  wipe();
  add(other.bytes());
  other.wipe();
  return *this;
}

bool KeyBytes::add(Bytes bytes) noexcept {
  const MutableBytes room = this->room();
  if (bytes.size() > room.size()) return false;
  std::copy(bytes.begin(), bytes.end(), room.begin());
  taken(bytes.size());
  return true;
}

MutableBytes KeyBytes::room() noexcept {
  return std::as_writable_bytes(std::span(bytes_)).subspan(size_);
}

void KeyBytes::wipe() noexcept {
  // All of them: what was filled in and not taken, too. A memset before the end of an object is left out by compilers.
  ::explicit_bzero(bytes_.data(), bytes_.size());
  size_ = 0;
}

MutableBytes KeyBytes::bytes() noexcept {
  return std::as_writable_bytes(std::span(bytes_)).first(size_);
}

Bytes KeyBytes::bytes() const noexcept {
  return std::as_bytes(std::span(bytes_)).first(size_);
}

}  // namespace godwit
