#include "engine/lane_decoders.h"

#include <fmt/format.h>

#include <algorithm>

namespace godwit {

LaneDecoders::LaneDecoders(DecoderProvider& provider, FrameRing& ring, std::function<void(std::string_view)> on_note)
    : provider_(provider), ring_(ring), on_note_(std::move(on_note)) {}

bool LaneDecoders::are_late(std::uint8_t codec) {
  return device_of(codec) != nullptr;
}

Status LaneDecoders::decode(SinkFrame& frame) {
  const std::uint8_t codec = frame.header.codec;
  LateDecoder* const device = device_of(codec);
  if (device == nullptr) return decode_here(frame);
  Codec& at = codecs_[codec];
  // A lane does not wait for its device while it can decode by itself: it is fast enough, and the connection waits.
  if (at.under_way >= device->depth()) return decode_here(frame);
  const DecodeJob job{frame.ticket, frame.payload(), frame.output()};
  const auto taken = device->submit({&job, 1});
  if (taken && *taken == 1) {
    frame.state = ItemState::kAtCodec;
    ++at.under_way;
    return {};
  }
  TRY(decode_here(frame));
  return taken ? Status{} : fail_block(codec, taken.error().message);
}

Status LaneDecoders::decode_now(std::uint8_t codec, Bytes in, MutableBytes out) {
  auto& library = codecs_[codec].library;
  if (!library) library = TRY(make_decoder(static_cast<CodecId>(codec)));
  return library->decode(in, out);
}

Status LaneDecoders::poll() {
  for (auto& [codec, at] : codecs_) {
    while (at.under_way > 0) {
      const std::size_t before = at.under_way;
      TRY(hear(codec, at.device->poll(done_)));
      if (at.under_way == before) break;
    }
  }
  return {};
}

Status LaneDecoders::await(const SinkFrame& frame, const std::stop_token& stop) {
  const std::uint8_t codec = frame.header.codec;
  Codec& at = codecs_[codec];
  while (frame.state == ItemState::kAtCodec) {
    if (stop.stop_requested()) return fail(ErrorKind::kCancelled, "stopped while blocks were decoded");
    const std::size_t before = at.under_way;
    TRY(hear(codec, at.device->collect(done_, stop)));
    const bool nothing = at.device && at.under_way == before;
    if (nothing && !stop.stop_requested()) TRY(give_up(codec, "it did not wait for an answer"));
  }
  return {};
}

/// Null where nobody has one, or has one that works.
LateDecoder* LaneDecoders::device_of(std::uint8_t codec) {
  Codec& at = codecs_[codec];
  if (at.device || at.no_device) return at.device.get();
  const auto id = static_cast<CodecId>(codec);
  auto lent = provider_.lend(id, at.given_up);
  if (!lent && on_note_) on_note_(fmt::format("no device decodes {}: {}", name_of(id), lent.error().message));
  if (lent) at.device = std::move(*lent);
  at.no_device = at.device == nullptr;
  at.failures = 0;
  if (at.device) ring_.grow(std::min(at.device->depth(), kMostUnderWay));
  return at.device.get();
}

Status LaneDecoders::hear(std::uint8_t codec, Result<std::size_t> heard) {
  if (!heard) return give_up(codec, heard.error().message);
  for (std::size_t i = 0; i < *heard && codecs_[codec].device; ++i) TRY(answer(codec, done_[i]));
  return {};
}

Status LaneDecoders::answer(std::uint8_t codec, const DecodeDone& done) {
  SinkFrame* const frame = ring_.find(done.ticket);
  if (frame == nullptr || frame->state != ItemState::kAtCodec || frame->header.codec != codec) {
    return give_up(codec, "it answered what it was not asked");
  }
  --codecs_[codec].under_way;
  if (!done.failed && done.size == frame->header.block) {
    frame->state = ItemState::kReady;
    codecs_[codec].failures = 0;
    return {};
  }
  // It is the library that says whether the block is damaged.
  TRY(decode_here(*frame));
  return done.busy ? Status{} : fail_block(codec, "its device failed");
}

Status LaneDecoders::decode_here(SinkFrame& frame) {
  frame.state = ItemState::kReady;
  return decode_now(frame.header.codec, frame.payload(), frame.output());
}

Status LaneDecoders::fail_block(std::uint8_t codec, std::string_view why) {
  if (++codecs_[codec].failures < kMostFailures) return {};
  return give_up(codec, fmt::format("{} blocks in a row could not be decoded, {}", kMostFailures, why));
}

Status LaneDecoders::give_up(std::uint8_t codec, std::string_view why) {
  Codec& at = codecs_[codec];
  // First, because until it is gone it may work on its blocks.
  at.device.reset();
  at.under_way = 0;
  ++at.given_up;
  if (on_note_) {
    on_note_(fmt::format("a decoder of {} is given up: {}", name_of(static_cast<CodecId>(codec)), why));
  }
  for (SinkFrame* const frame : ring_.under_way()) {
    if (frame->state == ItemState::kAtCodec && frame->header.codec == codec) TRY(decode_here(*frame));
  }
  return {};
}

}  // namespace godwit
