#include "engine/sink_lane.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "engine/fence.h"

namespace godwit {

SinkLane::SinkLane(SinkLaneSetting& setting, unsigned number, Channel& channel)
    : setting_(setting),
      number_(number),
      channel_(channel),
      decoders_(setting.decoders, ring_,
                [this](std::string_view text) {
                  if (setting_.on_note) setting_.on_note(fmt::format("lane {}: {}", number_, text));
                }),
      payload_(kChunkSize),
      block_(kChunkSize) {}

Status SinkLane::run(const std::stop_token& stop) {
  wire::FrameHeaderBytes bytes;
  while (true) {
    TRY(receive_bytes(channel_, bytes));
    const auto header = TRY(wire::decode_frame_header(bytes));
    if (header.type == wire::FrameType::kFence) {
      TRY(apply_all(stop));
      devices_load_ = header.chunk.value >= kMissingFence;
      TRY(setting_.on_fence(number_, header.chunk.value));
      if (header.chunk.value == kLastFence) return {};
      continue;
    }
    TRY(check(header));
    TRY(take(header, stop));
  }
}

Status SinkLane::take(const wire::FrameHeader& header, const std::stop_token& stop) {
  const bool raw = header.codec == static_cast<std::uint8_t>(CodecId::kRaw);
  const bool late = header.block != 0 && !raw && decoders_.are_late(header.codec);
  if (!late && ring_.oldest() == nullptr) return apply_now(header);
  TRY(enter(header, stop));
  return apply_ready();
}

Status SinkLane::check(const wire::FrameHeader& header) const {
  const auto& layout = setting_.placer->layout();
  const auto chunk = header.chunk.value;
  if (chunk >= layout.chunk_count()) {
    return fail(ErrorKind::kProtocol,
                fmt::format("the source sent chunk {} of a guest that has {}", chunk, layout.chunk_count()));
  }
  if (setting_.shares.lane_of(header.chunk) != number_) {
    return fail(ErrorKind::kProtocol, fmt::format("the source sent chunk {} on lane {} of {}, which does not own it",
                                                  chunk, number_, setting_.shares.lanes));
  }
  if ((header.named() & ~layout.valid_pages(header.chunk)) != 0) {
    return fail(ErrorKind::kProtocol, fmt::format("the source sent pages past the end of RAM in chunk {}", chunk));
  }
  if ((header.delta | header.copies) == 0) return {};
  if (devices_load_) {
    return fail(ErrorKind::kProtocol,
                fmt::format("the source sent changes of chunk {} while devices may write to it", chunk));
  }
  return {};
}

/// What was sent before this frame has been applied.
Status SinkLane::check_changes(const wire::FrameHeader& header) const {
  const PageWord unknown = header.own_delta() & ~setting_.placer->received(header.chunk);
  if (unknown == 0) return {};
  return fail(ErrorKind::kProtocol, fmt::format("the source sent changes of page {} of chunk {}, which it never sent",
                                                std::countr_zero(unknown), header.chunk.value));
}

Status SinkLane::check_references(const wire::FrameHeader& header, const wire::Tail& tail) const {
  const auto& layout = setting_.placer->layout();
  for (std::size_t i = 0; i < page_count(header.copies); ++i) {
    const auto [chunk, page] = tail.copy(i);
    // A chunk of another lane may be at any state now.
    const bool ours = chunk.value < layout.chunk_count() && setting_.shares.lane_of(chunk) == number_;
    if (ours && ((setting_.placer->received(chunk) >> page) & 1) != 0) continue;
    return fail(ErrorKind::kProtocol, fmt::format("the source sent a copy of page {} of chunk {}, which lane {} never "
                                                  "sent",
                                                  page, chunk.value, number_));
  }
  return {};
}

Status SinkLane::apply_now(const wire::FrameHeader& header) {
  TRY(check_changes(header));
  if (header.zero != 0) TRY(setting_.placer->discard(header.chunk, header.zero));
  if (header.block == 0) return {};
  const bool raw = header.codec == static_cast<std::uint8_t>(CodecId::kRaw);
  return apply_tail(header, TRY(raw ? receive_raw(header) : receive_encoded(header)));
}

Result<Bytes> SinkLane::receive_raw(const wire::FrameHeader& header) {
  if (header.data != 0) {
    const PageRoom room = setting_.placer->room_for(header.chunk, header.data, block_);
    TRY(room.fill([&](MutableBytes piece) { return receive_bytes(channel_, piece); }));
    TRY(setting_.placer->placed(header.chunk, room));
  }
  const MutableBytes tail(payload_.data(), header.block - wire::tail_offset(header));
  TRY(receive_bytes(channel_, tail));
  return Bytes(tail);
}

Result<Bytes> SinkLane::receive_encoded(const wire::FrameHeader& header) {
  const MutableBytes payload(payload_.data(), header.payload);
  TRY(receive_bytes(channel_, payload));
  const std::size_t whole = wire::tail_offset(header);
  // A decoder may write a few bytes more than once: not into guest RAM while devices look at it.
  if (header.block == whole && !devices_load_) {
    const PageRoom room = setting_.placer->room_for(header.chunk, header.data, block_);
    if (const auto piece = room.piece()) {
      TRY(decoders_.decode_now(header.codec, payload, *piece));
      TRY(setting_.placer->placed(header.chunk, room));
      return Bytes{};
    }
  }
  const MutableBytes block(block_.data(), header.block);
  TRY(decoders_.decode_now(header.codec, payload, block));
  if (whole != 0) TRY(setting_.placer->place(header.chunk, header.data, block.first(whole)));
  return Bytes(block.subspan(whole));
}

Status SinkLane::enter(const wire::FrameHeader& header, const std::stop_token& stop) {
  while (ring_.spare() == nullptr) {
    TRY(decoders_.await(*ring_.oldest(), stop));
    TRY(apply_ready());
  }
  SinkFrame& frame = *ring_.spare();
  frame.header = header;
  frame.room.reset();
  frame.state = ItemState::kReady;
  if (header.codec == static_cast<std::uint8_t>(CodecId::kRaw)) {
    TRY(receive_bytes(channel_, frame.block()));
    ring_.push();
    return {};
  }
  TRY(receive_bytes(channel_, frame.payload()));
  if (may_decode_in_place(header)) {
    const PageRoom room = setting_.placer->room_for(header.chunk, header.data, frame.block());
    if (room.in_place && room.piece()) frame.room = room;
  }
  ring_.push();
  return decoders_.decode(frame);
}

/// Right into guest RAM, before those in front of it are applied: not where one of them has something to do with this
/// chunk, or copies pages, of which nobody knows yet which. Nor where a device of the guest may look.
bool SinkLane::may_decode_in_place(const wire::FrameHeader& header) const {
  if (devices_load_ || header.block != wire::tail_offset(header)) return false;
  return std::ranges::none_of(ring_.under_way(), [&](const SinkFrame* before) {
    return before->header.chunk == header.chunk || before->header.copies != 0;
  });
}

Status SinkLane::apply_ready() {
  TRY(decoders_.poll());
  while (ring_.oldest() != nullptr && ring_.oldest()->state == ItemState::kReady) TRY(apply_oldest());
  return {};
}

Status SinkLane::apply_all(const std::stop_token& stop) {
  while (ring_.oldest() != nullptr) {
    TRY(decoders_.await(*ring_.oldest(), stop));
    TRY(apply_ready());
  }
  return {};
}

Status SinkLane::apply_oldest() {
  SinkFrame& frame = *ring_.oldest();
  const auto& header = frame.header;
  TRY(check_changes(header));
  if (header.zero != 0) TRY(setting_.placer->discard(header.chunk, header.zero));
  if (frame.room) {
    TRY(setting_.placer->placed(header.chunk, *frame.room));
  } else if (header.block != 0) {
    const std::size_t whole = wire::tail_offset(header);
    if (whole != 0) TRY(setting_.placer->place(header.chunk, header.data, frame.block().first(whole)));
    TRY(apply_tail(header, frame.block().subspan(whole)));
  }
  ring_.drop_oldest();
  return {};
}

Status SinkLane::apply_tail(const wire::FrameHeader& header, Bytes bytes) {
  if (bytes.empty()) return {};
  const auto tail = TRY(wire::Tail::parse(header, bytes));
  TRY(check_references(header, tail));
  Status status;
  std::size_t fill = 0;
  std::size_t copy = 0;
  std::size_t delta = 0;
  const std::byte* in = tail.sub_blocks().data();
  const auto apply_page = [&](unsigned page) -> Status {
    const PageWord bit = PageWord{1} << page;
    const bool copied = (header.copies & bit) != 0;
    const SubBlockMask mask = (header.delta & bit) != 0 ? tail.mask(delta++) : SubBlockMask{0};
    const std::byte* const changed = std::exchange(in, in + sub_block_bytes(mask));
    if (copied) {
      const auto similar = tail.copy(copy++);
      TRY(setting_.placer->read(similar.chunk, similar.page, page_));
      setting_.kernels.scatter(changed, mask, page_.data());
    } else if (mask != 0) {
      return setting_.placer->change(header.chunk, page, mask, (header.xored & bit) != 0, changed);
    } else {
      const std::uint64_t value = tail.fill(fill++);
      for (std::size_t at = 0; at < kPageSize; at += sizeof value) std::memcpy(page_.data() + at, &value, sizeof value);
    }
    return setting_.placer->place(header.chunk, bit, page_);
  };
  for_each_page(header.fill | header.copies | header.delta, [&](unsigned page) {
    if (status) status = apply_page(page);
  });
  return status;
}

}  // namespace godwit
