#include "engine/source_lane.h"

#include <array>
#include <cstring>
#include <numeric>

namespace godwit {

namespace {

constexpr std::size_t kAlignment = 64;

/// Bit k of `packed` speaks of the k-th page of `pages`: spreads the bits to the pages' own places.
PageWord spread(PageWord packed, PageWord pages) noexcept {
  PageWord out = 0;
  for (; pages != 0; pages &= pages - 1, packed >>= 1) {
    if (packed & 1) out |= pages & (~pages + 1);
  }
  return out;
}

/// Those of the uniform pages that are zeros.
PageWord zeros_among(PageWord uniform, const std::byte* pages) noexcept {
  PageWord zero = 0;
  for_each_page(uniform, [&](unsigned page) {
    std::uint64_t value = 0;
    std::memcpy(&value, pages + page * kPageSize, sizeof(value));
    if (value == 0) zero |= PageWord{1} << page;
  });
  return zero;
}

/// Closes the gaps that zero pages left, so that the pages with content lie one after the other.
void join_pages(std::byte* pages, PageWord zero, unsigned count) noexcept {
  unsigned kept = 0;
  for (unsigned i = 0; i < count; ++i) {
    if ((zero >> i) & 1) continue;
    if (kept != i) std::memcpy(pages + kept * kPageSize, pages + i * kPageSize, kPageSize);
    ++kept;
  }
}

}  // namespace

SourceLane::SourceLane(LaneSetting& setting, unsigned number, Channel& channel, std::unique_ptr<Encoder> encoder)
    : setting_(setting), number_(number), channel_(channel), encoder_(std::move(encoder)) {
  slots_.resize(encoder_ ? encoder_->depth() : 1);
  for (Slot& slot : slots_) {
    slot.storage.resize(2 * kChunkSize + kAlignment);
    void* start = slot.storage.data();
    std::size_t space = slot.storage.size();
    slot.pages = static_cast<std::byte*>(std::align(kAlignment, 2 * kChunkSize, start, space));
    slot.encoded = slot.pages + kChunkSize;
  }
}

Status SourceLane::run(std::stop_token stop) {
  std::uint32_t fenced = 0;
  while (!stop.stop_requested()) {
    const auto epoch = setting_.board.epoch();
    // The fence is read before the sweep: what was posted before it was asked for is then swept.
    const auto fence = setting_.fence.load(std::memory_order_acquire);
    if (TRY(sweep(stop))) continue;
    if (stop.stop_requested()) break;
    if (fence != fenced) {
      TRY(send_fence(fence));
      fenced = fence;
      continue;
    }
    counters_.busy.store(false, std::memory_order_release);
    setting_.board.await_epoch_after(epoch);
    counters_.busy.store(true, std::memory_order_release);
  }
  return {};
}

Result<bool> SourceLane::sweep(std::stop_token stop) {
  bool found = false;
  for (std::uint32_t c = number_; c < setting_.board.chunk_count() && !stop.stop_requested(); c += setting_.lanes) {
    if (setting_.board.peek(ChunkIndex{c}) == 0) continue;
    const PageWord pages = setting_.board.claim(ChunkIndex{c});
    if (pages == 0) continue;
    found = true;
    const Instant begin = setting_.clock.now();
    TRY(take(ChunkIndex{c}, pages));
    TRY(collect(false, stop));
    add(counters_.busy_ns, static_cast<std::uint64_t>((setting_.clock.now() - begin).count()));
  }
  TRY(collect(true, stop));
  return found;
}

std::size_t SourceLane::free_slot() const noexcept {
  std::size_t i = 0;
  while (slots_[i].used) ++i;
  return i;
}

Status SourceLane::take(ChunkIndex chunk, PageWord pages) {
  const std::size_t index = free_slot();
  Slot& slot = slots_[index];
  const auto count = static_cast<unsigned>(page_count(pages));
  // Before the read: a page that is given back from here on is found among those sent, whatever the read still sees.
  const PageWord before = setting_.sent.of(chunk);
  setting_.sent.set(chunk, before | pages);
  setting_.left_out.drop(chunk, pages);
  TRY(setting_.memory.read(chunk, pages, {slot.pages, count * kPageSize}));

  const PageWord packed_zero = zeros_among(setting_.kernels.uniform_pages(slot.pages, count), slot.pages);
  const PageWord zero = spread(packed_zero, pages);
  const PageWord data = pages & ~zero;
  if (zero != 0 && data != 0) join_pages(slot.pages, packed_zero, count);

  setting_.sent.set(chunk, (before | data) & ~zero);
  add(counters_.pages_data, page_count(data));
  add(counters_.pages_zero, page_count(zero));
  add(counters_.pages_resent, page_count(before & pages));

  slot.header = wire::FrameHeader{.chunk = chunk, .data = data, .zero = zero};
  const std::size_t size = page_count(data) * kPageSize;
  if (data == 0 || !encoder_) return send_slot(slot, 0);
  const EncodeJob job{index, {slot.pages, size}, {slot.encoded, size}};
  const auto taken = TRY(encoder_->submit({&job, 1}));
  if (taken != 1) return send_slot(slot, 0);  // an encoder that has no room now: the chunk goes raw rather than wait
  slot.used = true;
  ++under_way_;
  return {};
}

Status SourceLane::collect(bool all, std::stop_token stop) {
  std::array<EncodeDone, 16> done;
  while (under_way_ > 0 && (all || under_way_ == slots_.size())) {
    const auto n = TRY(encoder_->collect(done, stop));
    if (n == 0) return {};
    for (std::size_t i = 0; i < n; ++i) {
      Slot& slot = slots_[done[i].ticket];
      slot.used = false;
      --under_way_;
      TRY(send_slot(slot, done[i].size));
    }
  }
  return {};
}

Status SourceLane::send_slot(Slot& slot, std::size_t encoded_size) {
  const std::size_t raw_size = page_count(slot.header.data) * kPageSize;
  const bool raw = encoded_size == 0;
  const std::size_t size = raw ? raw_size : encoded_size;
  slot.header.codec = static_cast<std::uint8_t>(raw ? CodecId::kRaw : encoder_->id());
  slot.header.payload = static_cast<std::uint32_t>(size);
  if (raw) {
    add(counters_.bytes_raw, raw_size);
  } else {
    add(counters_.bytes_compressed, size);
    add(counters_.bytes_before, raw_size);
  }
  auto header = wire::encode(slot.header);
  const std::array<iovec, 2> parts{iovec{header.data(), header.size()}, iovec{raw ? slot.pages : slot.encoded, size}};
  return channel_.send(std::span(parts).first(size == 0 ? 1 : 2));
}

Status SourceLane::send_fence(std::uint32_t number) {
  const auto header = wire::encode(wire::FrameHeader{.type = wire::FrameType::kFence, .chunk = ChunkIndex{number}});
  return send_bytes(channel_, header);
}

}  // namespace godwit
