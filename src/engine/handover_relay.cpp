#include "engine/handover_relay.h"

#include <algorithm>

namespace godwit {

namespace {
// Small enough that a heartbeat never waits long behind a piece on a slow link.
constexpr std::size_t kPiece = 256 * 1024;
// Before the guest stops no more than this is on its way: what lies in the kernel has to be waited for in the pause,
// and makes the link look faster to the hypervisor than it is, which then stops the guest with more left to send than
// fits.
constexpr std::uint64_t kMostUnderWay = 256 * 1024;
// What takes less tells more about this thread's turns on its CPU than about the link.
constexpr Duration kWorthMeasuring = std::chrono::milliseconds(20);
// A page or two of a text screen pass on any link.
constexpr double kAlwaysFits = 64 * 1024;
constexpr double kMostThatFits = 1e18;
constexpr auto kAskEvery = std::chrono::milliseconds(1);
}  // namespace

Status HandoverRelay::device_bytes(Bytes bytes) {
  bytes_ += bytes.size();
  if (stopped_) bytes_in_pause_ += bytes.size();
  while (!bytes.empty()) {
    const Bytes piece = bytes.first(std::min(bytes.size(), kPiece));
    const std::size_t sent = TRY(send_piece(piece));
    bytes = bytes.subspan(piece.size());
    given_ += sent;
    wait_for_the_link();
  }
  return {};
}

/// Gives the bytes that it took on the wire.
Result<std::size_t> HandoverRelay::send_piece(Bytes piece) {
  const std::size_t size = encoder_ ? TRY(pack(piece)) : 0;
  if (size == 0) {
    TRY(control_.send(wire::DeviceBytes{{piece.begin(), piece.end()}}));
    return piece.size();
  }
  packed_.resize(size);
  TRY(control_.send(wire::PackedDevices{.codec = static_cast<std::uint8_t>(encoder_->id()),
                                        .size = static_cast<std::uint32_t>(piece.size()),
                                        .bytes = packed_}));
  return size;
}

/// Into packed_. Gives its size; 0 if it would not be smaller. A millisecond for all that a VM has.
Result<std::size_t> HandoverRelay::pack(Bytes piece) {
  packed_.resize(piece.size());
  const EncodeJob job{.ticket = 0, .input = piece, .output = packed_};
  EncodeDone done;
  const std::size_t taken = TRY(encoder_->submit({&job, 1}));
  if (taken == 0) return std::size_t{0};
  const std::size_t answers = TRY(encoder_->collect({&done, 1}, {}));
  return answers == 1 && !done.failed ? done.size : 0;
}

/// While the guest runs. Its stop cannot be told of while this holds the hypervisor back.
void HandoverRelay::wait_for_the_link() {
  if (stopped_) return;
  if (control_.unconfirmed() <= kMostUnderWay) return full_since_.reset();
  while (control_.unconfirmed() > kMostUnderWay) {
    const auto signals = signals_.await([](const SourceSignals& s) { return s.failed || s.closed; }, kAskEvery);
    if (signals.failed || signals.closed) return;
  }
  measure();
}

/// Between two such moments the link was never without work, and as much lies in the kernel at both.
void HandoverRelay::measure() {
  const Instant at = clock_.now();
  if (full_since_ && at - *full_since_ < kWorthMeasuring) return;
  if (full_since_) {
    const auto took = std::chrono::duration<double>(at - *full_since_).count();
    rate_ = static_cast<double>(given_ - given_then_) / took;
  }
  full_since_ = at;
  given_then_ = given_;
}

std::uint64_t HandoverRelay::fits_into_pause() const {
  const double rate = rate_;
  if (rate <= 0) return ~std::uint64_t{0};
  const double fits = rate * std::chrono::duration<double>(max_downtime_.load()).count();
  return static_cast<std::uint64_t>(std::clamp(fits, kAlwaysFits, kMostThatFits));
}

Status HandoverRelay::guest_stopped(Instant at) {
  stopped_ = true;
  // The coordinator first: the last harvest is what the pause waits for.
  signals_.change([&](SourceSignals& s) { s.stopped = at; });
  TRY(control_.send(wire::GuestStopped{}));
  signals_.change([](SourceSignals& s) { s.stop_told = true; });
  return {};
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
