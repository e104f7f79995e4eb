// A channel whose peer is the fuzzer's input.
#pragma once

#include <algorithm>
#include <string>

#include "net/channel.h"

namespace godwit {

/// Gives some bytes, then ends.
class BytesChannel final : public Channel, private Link {
 public:
  explicit BytesChannel(Bytes bytes) : bytes_(bytes), size_(bytes.size()) {}
  Status write(std::span<const iovec>, const Deadline&) override { return {}; }
  Result<std::size_t> read(MutableBytes room, std::size_t at_least, const Deadline&) override {
    const std::size_t size = std::min(room.size(), bytes_.size());
    if (size < at_least) return fail(ErrorKind::kPeerLost, "the peer closed the connection");
    std::copy_n(bytes_.begin(), size, room.begin());
    bytes_ = bytes_.subspan(size);
    return size;
  }
  Status shut_down() override { return {}; }
  void abort() noexcept override {}
  Link& link() noexcept override { return *this; }

 private:
  std::uint64_t bytes_sent() const noexcept override { return 0; }
  std::uint64_t bytes_received() const noexcept override { return size_ - bytes_.size(); }
  SendWaits send_waits() const noexcept override { return {}; }
  void bear_silence(Duration) noexcept override {}
  SendQueue send_queue() noexcept override { return {}; }
  Duration queueing() const noexcept override { return {}; }
  int descriptor() const noexcept override { return -1; }
  const std::string& peer() const noexcept override { return peer_; }
  std::string security() const override { return {}; }

  Bytes bytes_;
  std::size_t size_;
  std::string peer_ = "the fuzzer";
};

}  // namespace godwit
