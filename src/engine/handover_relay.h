// Takes the device stream from the hypervisor's threads to the control connection, and the signals to the coordinator.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "codec/codec.h"
#include "engine/first_error.h"
#include "engine/source_signals.h"
#include "vmm/hypervisor.h"
#include "wire/control.h"

namespace godwit {

class HandoverRelay final : public HandoverObserver {
 public:
  HandoverRelay(wire::ControlConnection& control, Mailbox<SourceSignals>& signals, FirstError& error,
                const Clock& clock, Duration max_downtime)
      : control_(control), signals_(signals), error_(error), clock_(clock), max_downtime_(max_downtime) {}
  /// Before the hand-over: the operator may have changed it since.
  void allow_pause(Duration max_downtime) noexcept { max_downtime_ = max_downtime; }
  /// Before the hand-over, for a sink that can unpack: device bytes go compressed.
  void pack_with(std::unique_ptr<Encoder> encoder) { encoder_ = std::move(encoder); }

  void guest_stopping(Instant at) override {
    signals_.change([&](SourceSignals& s) { s.stopping = at; });
  }
  void guest_stopped_by_others(Instant at) override {
    signals_.change([&](SourceSignals& s) {
      if (s.stopping == at && !s.stopped) s.stopping.reset();
    });
  }
  Status device_bytes(Bytes bytes) override;
  Status guest_stopped(Instant at) override;
  std::uint64_t fits_into_pause() const override;
  Status stream_ended(Instant at, std::uint64_t dropped) override;
  void handover_failed(Error error) override;
  std::uint64_t bytes() const noexcept { return bytes_; }
  std::uint64_t bytes_in_pause() const noexcept { return bytes_in_pause_; }
  std::uint64_t dropped() const noexcept { return dropped_; }

 private:
  Result<std::size_t> send_piece(Bytes piece);
  Result<std::size_t> pack(Bytes piece);
  void wait_for_the_link();
  void measure();
  wire::ControlConnection& control_;
  Mailbox<SourceSignals>& signals_;
  FirstError& error_;
  const Clock& clock_;
  std::atomic<Duration> max_downtime_;
  std::unique_ptr<Encoder> encoder_;  ///< answers inside submit(); null: bytes go as they are
  std::vector<std::byte> packed_;
  std::uint64_t given_ = 0;            ///< bytes given to the connection
  std::optional<Instant> full_since_;  ///< the link has had something to send since then, and what was given by then
  std::uint64_t given_then_ = 0;
  std::atomic<double> rate_{0};  ///< bytes a second that the link took when it was full; 0: it never was
  std::atomic<std::uint64_t> bytes_{0};
  std::atomic<std::uint64_t> bytes_in_pause_{0};
  std::atomic<std::uint64_t> dropped_{0};
  bool stopped_ = false;  ///< the hypervisor's stream thread's
};

}  // namespace godwit
