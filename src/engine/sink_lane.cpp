#include "engine/sink_lane.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>
#include <utility>

#include "engine/fence.h"

namespace godwit {

SinkLane::SinkLane(SinkLaneSetting& setting, unsigned number, Channel& channel)
    : setting_(setting), number_(number), channel_(channel), payload_(kChunkSize), block_(kChunkSize) {}

Status SinkLane::run() {
  wire::FrameHeaderBytes bytes;
  while (true) {
    TRY(receive_bytes(channel_, bytes));
    const auto header = TRY(wire::decode_frame_header(bytes));
    if (header.type == wire::FrameType::kFence) {
      devices_load_ = header.chunk.value >= kDevicesFence;
      TRY(setting_.on_fence(number_, header.chunk.value));
      if (header.chunk.value == kLastFence) return {};
      continue;
    }
    TRY(check(header));
    TRY(apply(header));
  }
}

Status SinkLane::check(const wire::FrameHeader& header) const {
  const auto& layout = setting_.placer.layout();
  const auto chunk = header.chunk.value;
  if (chunk >= layout.chunk_count()) {
    return fail(ErrorKind::kProtocol,
                fmt::format("the source sent chunk {} of a guest that has {}", chunk, layout.chunk_count()));
  }
  if (chunk % setting_.lanes != number_) {
    return fail(ErrorKind::kProtocol, fmt::format("the source sent chunk {} on lane {} of {}, which does not own it",
                                                  chunk, number_, setting_.lanes));
  }
  if ((header.named() & ~layout.valid_pages(header.chunk)) != 0) {
    return fail(ErrorKind::kProtocol, fmt::format("the source sent pages past the end of RAM in chunk {}", chunk));
  }
  if ((header.delta | header.copies) == 0) return {};
  if (devices_load_) {
    return fail(ErrorKind::kProtocol,
                fmt::format("the source sent changes of chunk {} while devices may write to it", chunk));
  }
  if (const PageWord unknown = header.own_delta() & ~setting_.placer.received(header.chunk); unknown != 0) {
    return fail(ErrorKind::kProtocol, fmt::format("the source sent changes of page {} of chunk {}, which it never sent",
                                                  std::countr_zero(unknown), chunk));
  }
  return {};
}

Status SinkLane::check_references(const wire::FrameHeader& header, const wire::Tail& tail) const {
  const auto& layout = setting_.placer.layout();
  for (std::size_t i = 0; i < page_count(header.copies); ++i) {
    const auto [chunk, page] = tail.copy(i);
    // A chunk of another lane may be at any state now.
    const bool ours = chunk.value < layout.chunk_count() && chunk.value % setting_.lanes == number_;
    if (ours && ((setting_.placer.received(chunk) >> page) & 1) != 0) continue;
    return fail(ErrorKind::kProtocol, fmt::format("the source sent a copy of page {} of chunk {}, which lane {} never "
                                                  "sent",
                                                  page, chunk.value, number_));
  }
  return {};
}

Status SinkLane::apply(const wire::FrameHeader& header) {
  if (header.zero != 0) TRY(setting_.placer.discard(header.chunk, header.zero));
  if (header.block == 0) return {};
  const bool raw = header.codec == static_cast<std::uint8_t>(CodecId::kRaw);
  return apply_tail(header, TRY(raw ? receive_raw(header) : receive_encoded(header)));
}

Result<Bytes> SinkLane::receive_raw(const wire::FrameHeader& header) {
  if (header.data != 0) {
    const PageRoom room = setting_.placer.room_for(header.chunk, header.data, block_);
    TRY(room.fill([&](MutableBytes piece) { return receive_bytes(channel_, piece); }));
    TRY(setting_.placer.placed(header.chunk, room));
  }
  const MutableBytes tail(payload_.data(), header.block - wire::tail_offset(header));
  TRY(receive_bytes(channel_, tail));
  return Bytes(tail);
}

Result<Bytes> SinkLane::receive_encoded(const wire::FrameHeader& header) {
  Decoder* codec = TRY(decoder(header.codec));
  const MutableBytes payload(payload_.data(), header.payload);
  TRY(receive_bytes(channel_, payload));
  const std::size_t whole = wire::tail_offset(header);
  // A decoder may write a few bytes more than once: not into guest RAM while devices look at it.
  if (header.block == whole && !devices_load_) {
    const PageRoom room = setting_.placer.room_for(header.chunk, header.data, block_);
    if (const auto piece = room.piece()) {
      TRY(codec->decode(payload, *piece));
      TRY(setting_.placer.placed(header.chunk, room));
      return Bytes{};
    }
  }
  const MutableBytes block(block_.data(), header.block);
  TRY(codec->decode(payload, block));
  if (whole != 0) TRY(setting_.placer.place(header.chunk, header.data, block.first(whole)));
  return Bytes(block.subspan(whole));
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
      TRY(setting_.placer.read(similar.chunk, similar.page, page_));
      setting_.kernels.scatter(changed, mask, page_.data());
    } else if (mask != 0) {
      return setting_.placer.change(header.chunk, page, mask, (header.xored & bit) != 0, changed);
    } else {
      const std::uint64_t value = tail.fill(fill++);
      for (std::size_t at = 0; at < kPageSize; at += sizeof value) std::memcpy(page_.data() + at, &value, sizeof value);
    }
    return setting_.placer.place(header.chunk, bit, page_);
  };
  for_each_page(header.fill | header.copies | header.delta, [&](unsigned page) {
    if (status) status = apply_page(page);
  });
  return status;
}

Result<Decoder*> SinkLane::decoder(std::uint8_t codec) {
  auto& made = decoders_[codec];
  if (!made) made = TRY(make_decoder(static_cast<CodecId>(codec)));
  return made.get();
}

}  // namespace godwit
