#include "engine/source_lane.h"

#include <array>
#include <cstring>

#include "engine/fence.h"
#include "engine/process_usage.h"
#include "engine/sweep_order.h"

namespace godwit {

namespace {

constexpr std::size_t kAlignment = 64;

/// `bytes` holds `pages`, joined. Closes the gaps that those not in `kept` leave.
void join_pages(std::byte* bytes, PageWord pages, PageWord kept) noexcept {
  if (pages == kept) return;
  std::byte* to = bytes;
  const std::byte* from = bytes;
  for_each_page(pages, [&](unsigned page) {
    if ((kept >> page) & 1) {
      if (to != from) std::memcpy(to, from, kPageSize);
      to += kPageSize;
    }
    from += kPageSize;
  });
}

BlockKind kind_of(const wire::FrameHeader& header) noexcept {
  return header.data != 0 ? BlockKind::kPages : BlockKind::kChanges;
}

}  // namespace

SourceLane::SourceLane(LaneSetting& setting, unsigned number, Channel& channel)
    : setting_(setting),
      number_(number),
      channel_(channel),
      sorter_(setting.kernels, setting.deltas, setting.board.chunk_count(), setting.lanes),
      ladder_(setting.codec) {
  make_slots(1);
}

/// One for each block that may be under way.
void SourceLane::make_slots(std::size_t depth) {
  while (slots_.size() < depth) {
    Slot& slot = slots_.emplace_back();
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
    const bool swept_some = TRY(sweep(stop));
    if (swept_some) continue;
    if (stop.stop_requested()) break;
    if (fence != fenced) {
      TRY(send_fence(fence));
      fenced = fence;
      devices_load_ = fence >= kDevicesFence;
      counters_.fence.store(fence, std::memory_order_release);
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
  SweepOrder order(setting_.board.chunk_count(), number_, setting_.lanes);
  while (const auto chunk = order.next(setting_.spread.load(std::memory_order_relaxed))) {
    if (stop.stop_requested()) break;
    if (setting_.board.peek(*chunk) == 0) continue;
    const PageWord pages = setting_.board.claim(*chunk);
    if (pages == 0) continue;
    const Instant begin = setting_.clock.now();
    if (!found) begin_account(begin);
    found = true;
    TRY(take(*chunk, pages, stop));
    TRY(collect(false, stop));
    add(counters_.busy_ns, static_cast<std::uint64_t>((setting_.clock.now() - begin).count()));
  }
  TRY(collect(true, stop));
  return found;
}

/// What the connection did while this lane had nothing to send says nothing about blocks.
void SourceLane::begin_account(Instant now) noexcept {
  accounted_ = now;
  waits_ = channel_.send_waits();
  queued_ = channel_.send_queue().bytes;
}

std::size_t SourceLane::free_slot() const noexcept {
  std::size_t i = 0;
  while (slots_[i].used) ++i;
  return i;
}

Status SourceLane::take(ChunkIndex chunk, PageWord pages, std::stop_token stop) {
  const std::size_t index = free_slot();
  Slot& slot = slots_[index];
  // Before the read: a page that is given back from here on is found among those sent, whatever the read still sees.
  const PageWord before = setting_.sent.of(chunk);
  setting_.sent.set(chunk, before | pages);
  setting_.left_out.drop(chunk, pages);
  TRY(setting_.memory.read(chunk, pages, {slot.pages, page_count(pages) * kPageSize}));

  // Devices that are being loaded may write to pages at the sink: what is sent then must not build on what was there.
  const bool save_bytes = !devices_load_ && !ladder_.link_is_idle();
  slot.tail.clear();
  const SortedPages sorted =
      sorter_.sort(chunk, pages, before & pages, slot.pages, save_bytes ? Effort::kDeltas : Effort::kPlain, slot.tail);
  setting_.sent.set(chunk, (before | pages) & ~sorted.zero);
  count(sorted, before & pages);
  slot.header = wire::FrameHeader{.chunk = chunk,
                                  .data = sorted.whole,
                                  .zero = sorted.zero,
                                  .fill = sorted.fill,
                                  .copies = sorted.copies,
                                  .delta = sorted.delta,
                                  .xored = sorted.xored};
  if (slot.header.named() == 0) return {};
  join_pages(slot.pages, pages, sorted.whole);
  const Bytes tail = slot.tail.finish();
  std::memcpy(slot.pages + wire::tail_offset(slot.header), tail.data(), tail.size());
  slot.header.block = static_cast<std::uint32_t>(wire::tail_offset(slot.header) + tail.size());
  return encode(index, stop);
}

void SourceLane::count(const SortedPages& sorted, PageWord resent) noexcept {
  add(counters_.pages_data, page_count(sorted.whole | sorted.fill | sorted.copies | sorted.delta));
  add(counters_.pages_zero, page_count(sorted.zero));
  add(counters_.pages_resent, page_count(resent & ~sorted.unchanged));
  add(counters_.pages_fill, page_count(sorted.fill));
  add(counters_.pages_copied, page_count(sorted.copies));
  add(counters_.pages_delta, page_count(sorted.delta & ~sorted.copies));
  add(counters_.pages_unchanged, page_count(sorted.unchanged));
}

/// Gives the slot's block to the encoder that fits it best now; without one, it goes as it is.
Status SourceLane::encode(std::size_t index, std::stop_token stop) {
  Slot& slot = slots_[index];
  const std::size_t size = slot.header.block;
  slot.encoding = {};
  slot.choice = size == 0 ? LaneLadder::Choice{} : ladder_.choose(kind_of(slot.header), {slot.pages, size});
  Encoder* const encoder = TRY(ladder_.encoder(slot.choice.rung));
  // No frame may overtake one that it builds on, or one that builds on what it writes over: what another encoder has
  // comes out first, and a frame that refers to other pages is under way alone.
  const bool alone = slot.header.copies != 0;
  if (encoder != encoder_ || alone) TRY(collect(true, stop));
  if (encoder == nullptr) return send_slot(slot, 0);
  encoder_ = encoder;
  make_slots(encoder->depth());
  const EncodeJob job{index, {slot.pages, size}, {slot.encoded, size}};
  const Duration began = thread_cpu_time();
  const auto taken = TRY(encoder->submit({&job, 1}));
  slot.encoding = thread_cpu_time() - began;
  if (taken != 1) return send_slot(slot, 0);  // an encoder that cannot take it now: the chunk goes raw rather than wait
  slot.used = true;
  ++under_way_;
  return alone ? collect(true, stop) : Status{};
}

Status SourceLane::collect(bool all, std::stop_token stop) {
  std::array<EncodeDone, 16> done;
  while (under_way_ > 0 && (all || under_way_ >= encoder_->depth())) {
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
  const bool raw = encoded_size == 0;
  const std::size_t size = raw ? slot.header.block : encoded_size;
  slot.header.codec = static_cast<std::uint8_t>(raw ? CodecId::kRaw : ladder_.codec(slot.choice.rung));
  slot.header.payload = static_cast<std::uint32_t>(size);
  auto header = wire::encode(slot.header);
  const std::array<iovec, 2> parts{iovec{header.data(), header.size()}, iovec{raw ? slot.pages : slot.encoded, size}};
  const SendQueue queue = size == 0 ? SendQueue{} : channel_.send_queue();
  const Duration began = thread_cpu_time();
  TRY(channel_.send(std::span(parts).first(size == 0 ? 1 : 2)));
  if (size != 0) {
    learn(slot, raw, thread_cpu_time() - began, queue);
  } else if (channel_.send_waits().total != waits_.total) {
    begin_account(setting_.clock.now());  // no block's wait
  }
  return {};
}

void SourceLane::learn(const Slot& slot, bool raw, Duration sending, const SendQueue& before) {
  const std::uint32_t sent = slot.header.payload;
  RungCounters& rung = counters_.rungs[raw ? 0 : slot.choice.rung];
  add(rung.blocks, 1);
  add(rung.bytes_before, slot.header.block);
  add(rung.bytes_after, sent);
  const SendWaits waits = channel_.send_waits();
  const std::uint64_t queued = channel_.send_queue().bytes;
  const Instant now = setting_.clock.now();
  ladder_.learn({.rung = slot.choice.rung,
                 .kind = kind_of(slot.header),
                 .entropy = slot.choice.entropy,
                 .block_bytes = slot.header.block,
                 .wire_bytes = sent,
                 .encoding = slot.encoding,
                 .sending = sending,
                 .waited = waits.total - waits_.total,
                 .waited_for_receiver = waits.for_receiver - waits_.for_receiver,
                 .queued_at_start = queued_,
                 .queued_before = before.bytes,
                 .queued_after = queued,
                 .round_trip = before.round_trip,
                 .way_rate = setting_.way_rate.load(std::memory_order_relaxed),
                 .elapsed = now - accounted_});
  accounted_ = now;
  waits_ = waits;
  queued_ = queued;
}

Status SourceLane::send_fence(std::uint32_t number) {
  const auto header = wire::encode(wire::FrameHeader{.type = wire::FrameType::kFence, .chunk = ChunkIndex{number}});
  return send_bytes(channel_, header);
}

}  // namespace godwit
