// A channel whose peer is the fuzzer's input.
#pragma once

#include <algorithm>

#include "net/channel.h"

namespace godwit {

/// Gives some bytes, then ends.
class BytesChannel final : public Channel {
 public:
  explicit BytesChannel(Bytes bytes) : bytes_(bytes), size_(bytes.size()) {}
  Status send(std::span<const iovec>) override { return {}; }
  Status receive(MutableBytes exactly) override {
    if (exactly.size() > bytes_.size()) return fail(ErrorKind::kPeerLost, "the peer closed the connection");
    std::copy_n(bytes_.begin(), exactly.size(), exactly.begin());
    bytes_ = bytes_.subspan(exactly.size());
    return {};
  }
  Result<std::size_t> receive_some(MutableBytes room) override {
    const std::size_t size = std::min(room.size(), bytes_.size());
    TRY(receive(room.first(size)));
    return size;
  }
  int descriptor() const noexcept override { return -1; }
  Status finish_sending() override { return {}; }
  void abort() noexcept override {}
  void set_receive_timeout(Duration) noexcept override {}
  std::uint64_t bytes_sent() const noexcept override { return 0; }
  std::uint64_t bytes_received() const noexcept override { return size_ - bytes_.size(); }
  SendWaits send_waits() const noexcept override { return {}; }
  SendQueue send_queue() noexcept override { return {}; }

 private:
  Bytes bytes_;
  std::size_t size_;
};

}  // namespace godwit
