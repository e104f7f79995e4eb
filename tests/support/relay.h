// Between two hosts: passes connections on, as many as it is told, and may keep all that goes by.
#pragma once

#include <climits>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "net/channel.h"

namespace godwit::testing {

class Relay {
 public:
  /// The first `let_through` connections go on to `to`; all others are cut off at once.
  explicit Relay(const Address& to, unsigned let_through = UINT_MAX, bool records = false)
      : to_(to), let_through_(let_through), records_(records) {
    listener_ = std::move(listen_on(parse_address("tcp://127.0.0.1:0").value()).value());
    thread_ = std::jthread([this] { run(); });
  }
  ~Relay() {
    listener_->abort();
    thread_.join();
    for (const auto& channel : channels_) channel->abort();
    passing_.clear();
  }
  std::string address() const { return format_address(listener_->address()); }
  /// All that went by so far, both ways, connections mixed.
  std::string recorded() const {
    const std::lock_guard lock(mutex_);
    return recorded_;
  }

 private:
  void run() {
    while (auto from = listener_->accept({})) {
      if (let_through_ == 0) continue;
      --let_through_;
      auto to = connect_to(to_);
      if (!to) continue;
      pass(**from, **to);
      pass(**to, **from);
      channels_.push_back(std::move(*from));
      channels_.push_back(std::move(*to));
    }
  }
  void pass(Channel& from, Channel& to) {
    passing_.emplace_back([this, &from, &to] {
      std::vector<std::byte> bytes(65536);
      while (true) {
        std::byte first{};
        if (!receive_bytes(from, MutableBytes(&first, 1))) break;
        bytes[0] = first;
        const auto more = from.read(MutableBytes(bytes).subspan(1), 0, Deadline::never());
        const Bytes came = Bytes(bytes).first(1 + (more ? *more : 0));
        record(came);
        if (!send_bytes(to, came) || !more) break;
      }
      (void)to.shut_down();
    });
  }
  void record(Bytes bytes) {
    if (!records_) return;
    const std::lock_guard lock(mutex_);
    recorded_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }

  Address to_;
  unsigned let_through_;
  const bool records_;
  std::unique_ptr<Listener> listener_;
  std::vector<std::unique_ptr<Channel>> channels_;
  mutable std::mutex mutex_;
  std::string recorded_;
  std::vector<std::jthread> passing_;
  std::jthread thread_;
};

}  // namespace godwit::testing
