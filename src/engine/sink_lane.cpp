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
    TRY(channel_.receive(bytes));
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
  const auto& layout = setting_.memory.layout();
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
  if (const PageWord unknown = header.own_delta() & ~setting_.filled.received(header.chunk); unknown != 0) {
    return fail(ErrorKind::kProtocol, fmt::format("the source sent changes of page {} of chunk {}, which it never sent",
                                                  std::countr_zero(unknown), chunk));
  }
  return {};
}

Status SinkLane::check_references(const wire::FrameHeader& header, const wire::Tail& tail) const {
  const auto& layout = setting_.memory.layout();
  for (std::size_t i = 0; i < page_count(header.copies); ++i) {
    const auto [chunk, page] = tail.copy(i);
    // A chunk of another lane may be at any state now.
    const bool ours = chunk.value < layout.chunk_count() && chunk.value % setting_.lanes == number_;
    if (ours && ((setting_.filled.received(chunk) >> page) & 1) != 0) continue;
    return fail(ErrorKind::kProtocol, fmt::format("the source sent a copy of page {} of chunk {}, which lane {} never "
                                                  "sent",
                                                  page, chunk.value, number_));
  }
  return {};
}

Status SinkLane::apply(const wire::FrameHeader& header) {
  const ChunkIndex chunk = header.chunk;
  const PageWord content = header.named() & ~header.zero;
  const PageWord filled = setting_.filled.filled(chunk);
  setting_.filled.drop_stale(chunk, header.named());
  setting_.filled.drop_received(chunk, header.zero);
  if (const PageWord emptied = header.zero & filled; emptied != 0) {
    setting_.filled.drop_present(chunk, emptied);
    TRY(setting_.memory.discard(chunk, emptied));
  }
  setting_.filled.set_filled(chunk, (filled & ~header.zero) | content);
  if (header.block == 0) return {};
  const bool raw = header.codec == static_cast<std::uint8_t>(CodecId::kRaw);
  const Bytes tail = TRY(raw ? receive_raw(header) : receive_encoded(header));
  TRY(apply_tail(header, tail));
  setting_.filled.add_received(chunk, content);
  return {};
}

Status SinkLane::receive_whole_pages(const wire::FrameHeader& header) {
  if (header.data == 0) return {};
  const bool present = (header.data & ~setting_.filled.present(header.chunk)) == 0;
  if (auto chunk = setting_.memory.map(header.chunk); chunk && present) {
    Status status;
    for_each_run(header.data, [&](unsigned first, unsigned length) {
      if (status) status = channel_.receive(chunk->subspan(first * kPageSize, length * kPageSize));
    });
    return status;
  }
  const MutableBytes pages(block_.data(), wire::tail_offset(header));
  TRY(channel_.receive(pages));
  return store(header.chunk, header.data, pages);
}

Result<Bytes> SinkLane::receive_raw(const wire::FrameHeader& header) {
  TRY(receive_whole_pages(header));
  const MutableBytes tail(payload_.data(), header.block - wire::tail_offset(header));
  TRY(channel_.receive(tail));
  return Bytes(tail);
}

Result<Bytes> SinkLane::receive_encoded(const wire::FrameHeader& header) {
  Decoder* codec = TRY(decoder(header.codec));
  const MutableBytes payload(payload_.data(), header.payload);
  TRY(channel_.receive(payload));
  const std::size_t whole = wire::tail_offset(header);
  // Pages without a gap that are there already are decoded straight into guest RAM.
  const auto first = static_cast<unsigned>(std::countr_zero(header.data));
  const bool present = (header.data & ~setting_.filled.present(header.chunk)) == 0;
  const bool one_run =
      header.data != 0 && page_count(header.data) == static_cast<std::size_t>(std::countr_one(header.data >> first));
  // A decoder may write a few bytes more than once: not while devices look at guest RAM.
  if (auto chunk = setting_.memory.map(header.chunk);
      chunk && present && one_run && header.block == whole && !devices_load_) {
    TRY(codec->decode(payload, chunk->subspan(first * kPageSize, whole)));
    return Bytes{};
  }
  const MutableBytes block(block_.data(), header.block);
  TRY(codec->decode(payload, block));
  if (whole != 0) TRY(store(header.chunk, header.data, block.first(whole)));
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
      const auto twin = tail.copy(copy++);
      TRY(setting_.memory.read(twin.chunk, PageWord{1} << twin.page, page_));
      setting_.kernels.scatter(changed, mask, page_.data());
    } else if (mask != 0) {
      return apply_delta(header.chunk, page, mask, (header.xored & bit) != 0, changed);
    } else {
      const std::uint64_t value = tail.fill(fill++);
      for (std::size_t at = 0; at < kPageSize; at += sizeof value) std::memcpy(page_.data() + at, &value, sizeof value);
    }
    return store(header.chunk, bit, page_);
  };
  for_each_page(header.fill | header.copies | header.delta, [&](unsigned page) {
    if (status) status = apply_page(page);
  });
  return status;
}

/// The page is there, for it has been received.
Status SinkLane::apply_delta(ChunkIndex chunk, unsigned page, SubBlockMask mask, bool xored, const std::byte* in) {
  const auto apply = xored ? setting_.kernels.scatter_xor : setting_.kernels.scatter;
  const PageWord bit = PageWord{1} << page;
  if (auto mapped = setting_.memory.map(chunk); mapped && (setting_.filled.present(chunk) & bit) != 0) {
    apply(in, mask, mapped->data() + page * kPageSize);
    return {};
  }
  TRY(setting_.memory.read(chunk, bit, page_));
  apply(in, mask, page_.data());
  return store(chunk, bit, page_);
}

/// Memory that runs out shows here as an error, not as a SIGBUS in the middle of a copy.
Status SinkLane::store(ChunkIndex chunk, PageWord pages, Bytes in) {
  if ((pages & ~setting_.filled.present(chunk)) == 0) return setting_.memory.write(chunk, pages, in);
  TRY_IN("the destination has no memory for the guest", setting_.memory.fill(chunk, pages, in));
  setting_.filled.add_present(chunk, pages);
  return {};
}

Result<Decoder*> SinkLane::decoder(std::uint8_t codec) {
  auto& made = decoders_[codec];
  if (!made) made = TRY(make_decoder(static_cast<CodecId>(codec)));
  return made.get();
}

}  // namespace godwit
