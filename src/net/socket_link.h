// A connected socket, with what was counted on it and what the kernel knows of it.
#pragma once

#include <atomic>
#include <string>

#include "base/unique_fd.h"
#include "net/link.h"

namespace godwit {

class SocketLink final : public Link {
 public:
  SocketLink(UniqueFd socket, std::string peer) : socket_(std::move(socket)), peer_(std::move(peer)) {}
  std::uint64_t bytes_sent() const noexcept override { return sent_.load(std::memory_order_relaxed); }
  std::uint64_t bytes_received() const noexcept override { return received_.load(std::memory_order_relaxed); }
  SendWaits send_waits() const noexcept override { return waits_; }
  SendQueue send_queue() noexcept override;
  void bear_silence(Duration dead_after) noexcept override;
  Duration queueing() const noexcept override;
  int descriptor() const noexcept override { return socket_.get(); }
  const std::string& peer() const noexcept override { return peer_; }
  std::string security() const override { return {}; }

  void count_sent(std::size_t bytes) noexcept { sent_.fetch_add(bytes, std::memory_order_relaxed); }
  void count_received(std::size_t bytes) noexcept { received_.fetch_add(bytes, std::memory_order_relaxed); }
  /// The socket had no room for so long.
  void count_wait(Duration waited) noexcept;

 private:
  UniqueFd socket_;
  std::string peer_;
  std::atomic<std::uint64_t> sent_{0};
  std::atomic<std::uint64_t> received_{0};
  SendWaits waits_;
  Duration round_trip_{};  ///< the shortest one seen
  Duration held_back_{};   ///< by the receiver, when last asked
};

}  // namespace godwit
