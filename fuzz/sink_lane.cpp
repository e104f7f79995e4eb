// A sink lane that is fed by a hostile source: frames, blocks, references and masks, all the way into guest RAM.
//
// What must hold: it ends with an error of the protocol, an early end, or the last fence; pages that it takes note of
// lie within RAM and in chunks that it owns; the sanitizers see to the bounds.
#include <cstdlib>

#include "engine/fence.h"
#include "engine/in_place_placer.h"
#include "engine/sink_lane.h"
#include "fuzz/bytes_channel.h"
#include "host/host_profile.h"
#include "tests/support/late_decoders.h"
#include "tests/support/plain_memory.h"

namespace {

using namespace godwit;

constexpr unsigned kLanes = 2;

void check(bool kept) {
  if (!kept) std::abort();
}

const RamLayout& layout() {
  static const RamLayout made =
      RamLayout::make({{.name = "a", .size = 2 * kChunkSize + 5 * kPageSize}, {.name = "b", .size = kChunkSize}})
          .value();
  return made;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // Made once: no path depends on what is in it, and clearing it would take longer than all the rest.
  static testing::PlainMemory memory(layout());
  FilledPages filled(layout().chunk_count());
  InPlacePlacer placer(memory, filled, best_kernels({}));
  // Half of all inputs meet decoders that answer late.
  NoLateDecoders at_once;
  testing::LateDecoders late;
  DecoderProvider& decoders = size % 2 == 0 ? static_cast<DecoderProvider&>(at_once) : late;
  SinkLaneSetting setting{
      &placer, best_kernels({}), decoders, {kLanes}, [](unsigned, std::uint32_t) { return Status{}; }};
  BytesChannel channel(std::as_bytes(std::span(data, size)));
  const Status status = SinkLane(setting, 0, channel).run();
  if (!status) {
    const auto kind = status.error().kind;
    check(kind == ErrorKind::kProtocol || kind == ErrorKind::kPeerLost);
  }
  check(late.seen.touched == 0 && late.seen.too_many == 0);
  for (std::uint32_t c = 0; c < layout().chunk_count(); ++c) {
    const ChunkIndex chunk{c};
    const PageWord touched = filled.received(chunk) | filled.filled(chunk);
    check((touched & ~layout().valid_pages(chunk)) == 0);
    check(c % kLanes == 0 || touched == 0);
  }
  return 0;
}
