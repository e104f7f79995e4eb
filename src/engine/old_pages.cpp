#include "engine/old_pages.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>

namespace godwit {

namespace {

// A slot's owner and its node in the map, about.
constexpr std::size_t kBookkeeping = 64;
constexpr std::uint64_t kNobody = ~std::uint64_t{0};

std::uint64_t number_of(ChunkIndex chunk, unsigned page) noexcept {
  return std::uint64_t{chunk.value} * kPagesPerChunk + page;
}

}  // namespace

OldPages::OldPages(std::size_t limit)
    : slots_(static_cast<std::uint32_t>(std::min<std::size_t>(limit / (kPageSize + kBookkeeping), UINT32_MAX))) {
  if (slots_ == 0) return;
  void* const space =
      ::mmap(nullptr, slots_ * kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (space == MAP_FAILED) {
    slots_ = 0;
    return;
  }
  storage_ = static_cast<std::byte*>(space);
}

OldPages::~OldPages() {
  if (storage_ != nullptr) ::munmap(storage_, slots_ * kPageSize);
}

const std::byte* OldPages::find(ChunkIndex chunk, unsigned page) const noexcept {
  const auto found = where_.find(number_of(chunk, page));
  return found == where_.end() ? nullptr : bytes_of(found->second);
}

std::size_t OldPages::all(std::size_t chunks) noexcept {
  return chunks * kPagesPerChunk * (kPageSize + kBookkeeping);
}

void OldPages::store(ChunkIndex chunk, unsigned page, const std::byte* bytes) noexcept {
  if (slots_ == 0) return;
  const auto number = number_of(chunk, page);
  auto found = where_.find(number);
  if (found == where_.end()) {
    try {
      const std::uint32_t slot = take_slot();
      found = where_.emplace(number, slot).first;
      owners_[slot] = number;
    } catch (const std::bad_alloc&) {
      return;
    }
  }
  std::memcpy(bytes_of(found->second), bytes, kPageSize);
}

std::uint32_t OldPages::take_slot() {
  if (owners_.size() < slots_) {
    owners_.push_back(kNobody);
    return static_cast<std::uint32_t>(owners_.size() - 1);
  }
  const std::uint32_t slot = next_;
  next_ = (next_ + 1) % slots_;
  if (owners_[slot] != kNobody) where_.erase(owners_[slot]);
  owners_[slot] = kNobody;
  return slot;
}

void OldPages::forget(ChunkIndex chunk, PageWord pages) noexcept {
  if (where_.empty()) return;
  for_each_page(pages, [&](unsigned page) {
    const auto found = where_.find(number_of(chunk, page));
    if (found == where_.end()) return;
    owners_[found->second] = kNobody;
    where_.erase(found);
  });
}

}  // namespace godwit
