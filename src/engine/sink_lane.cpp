#include "engine/sink_lane.h"

#include <fmt/format.h>

#include "engine/fence.h"

namespace godwit {

SinkLane::SinkLane(SinkLaneSetting& setting, unsigned number, Channel& channel)
    : setting_(setting), number_(number), channel_(channel), payload_(kChunkSize), pages_(kChunkSize) {}

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
  if (((header.data | header.zero) & ~layout.valid_pages(header.chunk)) != 0) {
    return fail(ErrorKind::kProtocol, fmt::format("the source sent pages past the end of RAM in chunk {}", chunk));
  }
  return {};
}

Status SinkLane::apply(const wire::FrameHeader& header) {
  const ChunkIndex chunk = header.chunk;
  const PageWord filled = setting_.filled.filled(chunk);
  setting_.filled.drop_stale(chunk, header.data | header.zero);
  if (const PageWord emptied = header.zero & filled; emptied != 0) {
    setting_.filled.drop_present(chunk, emptied);
    TRY(setting_.memory.discard(chunk, emptied));
  }
  setting_.filled.set_filled(chunk, (filled & ~header.zero) | header.data);
  if (header.data == 0) return {};
  return header.codec == static_cast<std::uint8_t>(CodecId::kRaw) ? receive_raw(header) : receive_encoded(header);
}

Status SinkLane::receive_raw(const wire::FrameHeader& header) {
  const bool present = (header.data & ~setting_.filled.present(header.chunk)) == 0;
  if (auto chunk = setting_.memory.map(header.chunk); chunk && present) {
    Status status;
    for_each_run(header.data, [&](unsigned first, unsigned length) {
      if (status) status = channel_.receive(chunk->subspan(first * kPageSize, length * kPageSize));
    });
    return status;
  }
  const MutableBytes pages(pages_.data(), header.payload);
  TRY(channel_.receive(pages));
  return store(header.chunk, header.data, pages);
}

Status SinkLane::receive_encoded(const wire::FrameHeader& header) {
  Decoder* codec = TRY(decoder(header.codec));
  const MutableBytes payload(payload_.data(), header.payload);
  TRY(channel_.receive(payload));
  const std::size_t size = page_count(header.data) * kPageSize;
  // Pages without a gap that are there already are decoded straight into guest RAM.
  const auto first = static_cast<unsigned>(std::countr_zero(header.data));
  const bool present = (header.data & ~setting_.filled.present(header.chunk)) == 0;
  const bool one_run = page_count(header.data) == static_cast<std::size_t>(std::countr_one(header.data >> first));
  // A decoder may write a few bytes more than once: not while devices look at guest RAM.
  if (auto chunk = setting_.memory.map(header.chunk); chunk && present && one_run && !devices_load_) {
    return codec->decode(payload, chunk->subspan(first * kPageSize, size));
  }
  const MutableBytes pages(pages_.data(), size);
  TRY(codec->decode(payload, pages));
  return store(header.chunk, header.data, pages);
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
