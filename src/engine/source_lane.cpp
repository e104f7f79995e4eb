#include "engine/source_lane.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/cpu_account.h"
#include "engine/fence.h"
#include "engine/sweep_order.h"

namespace godwit {

namespace {

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

// A fast link has sent so much before a lane that waits for a device looks again.
constexpr std::uint64_t kNextToNothing = 64 * 1024;

BlockKind kind_of(const wire::FrameHeader& header) noexcept {
  return header.data != 0 ? BlockKind::kPages : BlockKind::kChanges;
}

}  // namespace

SourceLane::SourceLane(LaneSetting& setting, unsigned number, Channel& channel)
    : setting_(setting),
      number_(number),
      channel_(channel),
      sorter_(setting.kernels, setting.deltas, setting.board.chunk_count(), setting.shares),
      levels_(setting.codec, setting.encoders.offers()),
      encoders_(
          setting.encoders, levels_for(setting.codec, setting.encoders.offers()), ring_, counters_,
          [this](std::string_view text) {
            if (setting_.on_note) setting_.on_note(fmt::format("lane {}: {}", number_, text));
          },
          [this] { return channel_.link().send_queue().bytes < kNextToNothing; }),
      fenced_(
          std::max(setting.fence.load(std::memory_order_acquire), setting.early_fence.load(std::memory_order_acquire))),
      devices_load_(setting.whole_pages) {}

Status SourceLane::run(std::stop_token stop) {
  while (!stop.stop_requested()) {
    const auto epoch = setting_.board.epoch();
    // The fence is read before the sweep: what was posted before it was asked for is then swept.
    const auto fence = setting_.fence.load(std::memory_order_acquire);
    TRY(send_early_fence(stop));
    const bool swept_some = TRY(sweep(stop));
    if (swept_some) continue;
    if (stop.stop_requested()) break;
    if (fence > fenced_) {
      TRY(send_fence(fence));
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
  // Not even a look at each chunk, of which a large guest has millions, and a pause has several sweeps.
  if (setting_.board.waiting() == 0) return found;
  SweepOrder order(setting_.board.chunk_count(), number_, setting_.shares);
  while (const auto chunk = order.next(setting_.spread.load(std::memory_order_relaxed))) {
    if (stop.stop_requested() || setting_.held.load(std::memory_order_acquire)) break;
    if (setting_.board.peek(*chunk) == 0) continue;
    TRY(send_early_fence(stop));
    const PageWord pages = setting_.board.claim(*chunk);
    if (pages == 0) continue;
    if (setting_.unconfirmed != nullptr) setting_.unconfirmed->add(*chunk, pages);
    const Instant begin = setting_.clock.now();
    if (!found) begin_account(begin);
    found = true;
    TRY(take(*chunk, pages, stop));
    TRY(send_ready(stop));
    count_busy(begin);
    if (setting_.board.waiting() == 0) break;
  }
  // One that ended before has found nothing left.
  if (found && !stop.stop_requested() && !setting_.held.load(std::memory_order_relaxed)) add(counters_.sweeps, 1);
  if (ring_.oldest() == nullptr) return found;
  const Instant begin = setting_.clock.now();
  while (ring_.oldest() != nullptr && !stop.stop_requested()) TRY(send_oldest(stop));
  count_busy(begin);
  return found;
}

void SourceLane::count_busy(Instant since) noexcept {
  add(counters_.busy_ns, static_cast<std::uint64_t>((setting_.clock.now() - since).count()));
}

/// What the connection did while this lane had nothing to send says nothing about blocks.
void SourceLane::begin_account(Instant now) noexcept {
  accounted_ = now;
  keep_waits(channel_.link().send_waits());
  queued_ = channel_.link().send_queue().bytes;
}

void SourceLane::keep_waits(const SendWaits& waits) noexcept {
  waits_ = waits;
  counters_.waited_ns.store(static_cast<std::uint64_t>(waits.total.count()), std::memory_order_relaxed);
}

Status SourceLane::take(ChunkIndex chunk, PageWord pages, std::stop_token stop) {
  // Devices that are being loaded may write to pages at the sink: what is sent then must not build on what was there.
  const Effort effort = devices_load_ || levels_.link_is_idle() ? Effort::kPlain : Effort::kDeltas;
  // First, because with the first encoder the ring grows.
  const auto bytes_in_place = in_place(chunk, pages, effort);
  LaneBlock* const spare = TRY(spare_block(stop));
  if (spare == nullptr) return {};
  LaneBlock& block = *spare;
  // Before the read: a page that is given back from here on is found among those sent, whatever the read still sees.
  const PageWord before = setting_.sent.of(chunk);
  setting_.sent.set(chunk, before | pages);
  setting_.left_out.drop(chunk, pages);
  block.tail.clear();
  block.in_place = {};
  block.unread = block.is_dense = block.not_by_device = false;
  if (bytes_in_place) {
    block.in_place = *bytes_in_place;
    return take_in_place(block, chunk, pages, before, stop);
  }
  TRY(setting_.memory.read(chunk, pages, {block.pages, page_count(pages) * kPageSize}));

  const SortedPages sorted = sorter_.sort(chunk, pages, before & pages, block.pages, effort, block.tail);
  setting_.sent.set(chunk, (before | pages) & ~sorted.zero);
  count(sorted, before & pages);
  block.header = wire::FrameHeader{.chunk = chunk,
                                   .data = sorted.whole,
                                   .zero = sorted.zero,
                                   .fill = sorted.fill,
                                   .copies = sorted.copies,
                                   .delta = sorted.delta,
                                   .xored = sorted.xored};
  if (block.header.named() == 0) return {};
  join_pages(block.pages, pages, sorted.whole);
  const Bytes tail = block.tail.finish();
  std::memcpy(block.pages + wire::tail_offset(block.header), tail.data(), tail.size());
  block.header.block = static_cast<std::uint32_t>(wire::tail_offset(block.header) + tail.size());
  ring_.push();
  return encode(block, stop);
}

/// The pages where they lie, for a device to read: all of them whole, and a block as they are.
std::optional<Bytes> SourceLane::in_place(ChunkIndex chunk, PageWord pages, Effort effort) {
  const std::size_t device = levels_.accelerated_level();
  if (device == 0 || sorter_.keeps(effort) || !is_one_run(pages) || !encoders_.reads_in_place(device)) return {};
  const auto bytes = setting_.memory.view(chunk, pages);
  if (!bytes) return {};
  const auto count = static_cast<unsigned>(page_count(pages));
  return setting_.kernels.uniform_pages(bytes->data(), count) == 0 ? bytes : std::nullopt;
}

/// Whatever the device sees of pages that the guest writes meanwhile: nothing is built on it, and they come again.
Status SourceLane::take_in_place(LaneBlock& block, ChunkIndex chunk, PageWord pages, PageWord before,
                                 std::stop_token stop) {
  sorter_.forget(chunk, pages);
  count({.whole = pages}, before & pages);
  block.header = wire::FrameHeader{.chunk = chunk, .data = pages};
  block.header.block = static_cast<std::uint32_t>(block.in_place.size());
  ring_.push();
  return encode(block, stop);
}

void SourceLane::count(const SortedPages& sorted, PageWord resent) noexcept {
  add(counters_.pages_data, page_count(sorted.whole | sorted.fill | sorted.copies | sorted.delta));
  add(counters_.pages_zero, page_count(sorted.zero));
  add(counters_.pages_resent, page_count(resent & ~sorted.unchanged));
  add(counters_.pages_same_fill, page_count(sorted.fill));
  add(counters_.pages_copied, page_count(sorted.copies));
  add(counters_.pages_delta, page_count(sorted.delta & ~sorted.copies));
  add(counters_.pages_unchanged, page_count(sorted.unchanged));
}

/// Waits for the oldest where all are under way; null: stopped.
Result<LaneBlock*> SourceLane::spare_block(std::stop_token stop) {
  while (ring_.spare() == nullptr && !stop.stop_requested()) TRY(send_oldest(stop));
  return ring_.spare();
}

/// Gives the block to the encoder that fits it best now; without one, it goes as it is.
Status SourceLane::encode(LaneBlock& block, std::stop_token stop) {
  block.encoded_size = 0;
  block.by_cpu = false;
  block.encoding = {};
  block.choice = {};
  block.state = ItemState::kReady;
  if (block.header.block == 0) return {};
  const std::size_t device = block.not_by_device ? 0 : levels_.device_level();
  block.choice = levels_.choose(kind_of(block.header), block.input(),
                                device == 0 ? std::nullopt : encoders_.device_wait_per_byte(device));
  block.unread = !block.in_place.empty() && block.choice.level != levels_.accelerated_level();
  if (block.unread) return copy_unread(block, stop);
  const Duration began = thread_cpu_time();
  encoders_.encode(block, stop);
  block.encoding += thread_cpu_time() - began;
  return block.unread ? copy_unread(block, stop) : Status{};
}

/// What the guest has written since comes again in any case.
Status SourceLane::copy_unread(LaneBlock& block, std::stop_token stop) {
  TRY(setting_.memory.read(block.header.chunk, block.header.data, {block.pages, block.header.block}));
  block.in_place = {};
  block.unread = false;
  block.not_by_device = true;
  return block.is_dense ? Status{} : encode(block, std::move(stop));
}

Status SourceLane::send_oldest(std::stop_token stop) {
  encoders_.await(*ring_.oldest(), stop);
  return send_ready(stop);
}

/// In the order in which they were claimed: up to the first that is not ready.
Status SourceLane::send_ready(std::stop_token stop) {
  encoders_.poll();
  while (LaneBlock* const block = ring_.oldest()) {
    if (block->state == ItemState::kReady && block->unread) TRY(copy_unread(*block, stop));
    if (block->state != ItemState::kReady) break;
    TRY(send_block(*block));
    ring_.drop_oldest();
  }
  return {};
}

Status SourceLane::send_block(LaneBlock& block) {
  const bool raw = block.encoded_size == 0;
  const std::size_t size = raw ? block.header.block : block.encoded_size;
  block.header.codec = static_cast<std::uint8_t>(raw ? CodecId::kRaw : levels_.codec(block.choice.level));
  block.header.payload = static_cast<std::uint32_t>(size);
  auto header = wire::encode(block.header);
  const std::array<iovec, 2> parts{iovec{header.data(), header.size()}, iovec{raw ? block.pages : block.encoded, size}};
  const SendQueue queue = size == 0 ? SendQueue{} : channel_.link().send_queue();
  const Duration began = thread_cpu_time();
  TRY(channel_.write(std::span(parts).first(size == 0 ? 1 : 2), Deadline::never()));
  if (size != 0) {
    learn(block, raw, thread_cpu_time() - began, queue);
  } else if (channel_.link().send_waits().total != waits_.total) {
    begin_account(setting_.clock.now());  // no block's wait
  }
  return {};
}

void SourceLane::learn(const LaneBlock& block, bool raw, Duration sending, const SendQueue& before) {
  const std::uint32_t sent = block.header.payload;
  LevelCounters& level = counters_.levels[raw ? 0 : block.by_cpu ? kByCpuLevel : block.choice.level];
  add(level.blocks, 1);
  add(level.bytes_before, block.header.block);
  add(level.bytes_after, sent);
  const SendWaits waits = channel_.link().send_waits();
  const std::uint64_t queued = channel_.link().send_queue().bytes;
  const Instant now = setting_.clock.now();
  levels_.learn({.level = block.choice.level,
                 .kind = kind_of(block.header),
                 .entropy = block.choice.entropy,
                 .block_bytes = block.header.block,
                 .wire_bytes = sent,
                 .encoding = block.encoding,
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
  keep_waits(waits);
  queued_ = queued;
}

/// In the middle of a sweep: what has been claimed is sent first.
Status SourceLane::send_early_fence(std::stop_token stop) {
  const auto fence = setting_.early_fence.load(std::memory_order_acquire);
  if (fence <= fenced_) return {};
  while (ring_.oldest() != nullptr && !stop.stop_requested()) TRY(send_oldest(stop));
  return stop.stop_requested() ? Status{} : send_fence(fence);
}

/// All that this lane has claimed has been sent.
Status SourceLane::send_fence(std::uint32_t number) {
  if (setting_.unconfirmed != nullptr && number < kMissingFence) setting_.unconfirmed->fence(number_, setting_.shares);
  const auto header = wire::encode(wire::FrameHeader{.type = wire::FrameType::kFence, .chunk = ChunkIndex{number}});
  TRY(send_bytes(channel_, header));
  fenced_ = number;
  devices_load_ = number >= kMissingFence;
  counters_.fence.store(number, std::memory_order_release);
  return {};
}

}  // namespace godwit
