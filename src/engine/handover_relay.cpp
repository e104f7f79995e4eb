#include "engine/handover_relay.h"

#include <algorithm>

namespace godwit {

namespace {
// Small enough that a heartbeat never waits long behind a piece on a slow link.
constexpr std::size_t kPiece = 256 * 1024;
}  // namespace

Status HandoverRelay::device_bytes(Bytes bytes) {
  bytes_ += bytes.size();
  while (!bytes.empty()) {
    const Bytes piece = bytes.first(std::min(bytes.size(), kPiece));
    TRY(control_.send(wire::DeviceBytes{{piece.begin(), piece.end()}}));
    bytes = bytes.subspan(piece.size());
  }
  return {};
}

Status HandoverRelay::guest_stopped(Instant at) {
  // The coordinator first: the last harvest is what the pause waits for.
  signals_.change([&](SourceSignals& s) { s.stopped = at; });
  return control_.send(wire::GuestStopped{});
}

Status HandoverRelay::stream_ended(Instant at, std::uint64_t dropped) {
  dropped_ = dropped;
  TRY(control_.send(wire::DeviceEnd{}));
  signals_.change([&](SourceSignals& s) { s.stream_ended = at; });
  return {};
}

void HandoverRelay::handover_failed(Error error) {
  signals_.change([&](SourceSignals& s) {
    if (s.committing) return;  // what happens at the source now does not touch the guest, which runs elsewhere
    error_.report(std::move(error).in("the hand-over of the source VM failed"));
    s.failed = true;
  });
}

}  // namespace godwit
