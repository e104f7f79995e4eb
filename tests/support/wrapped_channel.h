// A channel that passes everything on to another one: what wraps one overrides what it changes.
#pragma once

#include <memory>

#include "net/channel.h"

namespace godwit::testing {

class WrappedChannel : public Channel {
 public:
  explicit WrappedChannel(std::unique_ptr<Channel> inner) : inner_(std::move(inner)) {}
  Status send(std::span<const iovec> parts) override { return inner_->send(parts); }
  Status receive(MutableBytes exactly) override { return inner_->receive(exactly); }
  Result<std::size_t> receive_some(MutableBytes room) override { return inner_->receive_some(room); }
  int descriptor() const noexcept override { return inner_->descriptor(); }
  Status finish_sending() override { return inner_->finish_sending(); }
  void abort() noexcept override { inner_->abort(); }
  void set_receive_timeout(Duration timeout) noexcept override { inner_->set_receive_timeout(timeout); }
  std::uint64_t bytes_sent() const noexcept override { return inner_->bytes_sent(); }
  std::uint64_t bytes_received() const noexcept override { return inner_->bytes_received(); }
  SendWaits send_waits() const noexcept override { return inner_->send_waits(); }
  SendQueue send_queue() noexcept override { return inner_->send_queue(); }

 private:
  std::unique_ptr<Channel> inner_;
};

}  // namespace godwit::testing
