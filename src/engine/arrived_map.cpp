#include "engine/arrived_map.h"

#include <sys/mman.h>

#include <atomic>
#include <utility>

namespace godwit {

Result<ArrivedMap> ArrivedMap::map(int file, std::uint64_t offset, std::uint64_t chunks) {
  if (chunks == 0) return ArrivedMap();
  void* const at =
      ::mmap(nullptr, bytes_for(chunks), PROT_READ | PROT_WRITE, MAP_SHARED, file, static_cast<off_t>(offset));
  if (at == MAP_FAILED) return fail_os("map what has come");
  return ArrivedMap({static_cast<PageWord*>(at), chunks + 1});
}

ArrivedMap::ArrivedMap(ArrivedMap&& other) noexcept : words_(std::exchange(other.words_, {})) {}

ArrivedMap& ArrivedMap::operator=(ArrivedMap&& other) noexcept {
  std::swap(words_, other.words_);
  return *this;
}

ArrivedMap::~ArrivedMap() {
  if (!words_.empty()) ::munmap(words_.data(), words_.size_bytes());
}

void ArrivedMap::set(ChunkIndex chunk, PageWord pages) noexcept {
  if (chunk.value < chunks()) {
    std::atomic_ref(words_[chunk.value]).fetch_or(pages, std::memory_order_release);
  }
}

PageWord ArrivedMap::word(ChunkIndex chunk) const noexcept {
  if (chunk.value >= chunks()) return 0;
  return std::atomic_ref(words_[chunk.value]).load(std::memory_order_acquire);
}

void ArrivedMap::finish() noexcept {
  if (!words_.empty()) std::atomic_ref(words_.back()).store(1, std::memory_order_release);
}

bool ArrivedMap::finished() const noexcept {
  return !words_.empty() && std::atomic_ref(words_.back()).load(std::memory_order_acquire) != 0;
}

}  // namespace godwit
