// A channel around another one whose bytes nobody else understands, after a handshake: as encryption would be, and as
// little of it as shows what a wrapped connection needs.
//
//   connector -- "XOR" and its key --> acceptor
//             <-- "XOR" and its key --           then every byte is XORed with its sender's key
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "net/wrap.h"

namespace godwit::testing {

class ScrambledChannel final : public Channel {
 public:
  static constexpr std::size_t kHandshake = 4;

  /// For Wrap: waits for nothing.
  static Result<std::unique_ptr<Channel>> accepted(std::unique_ptr<Channel> fresh) {
    return std::make_unique<ScrambledChannel>(std::move(fresh), std::byte{0x5a});
  }
  /// For Wrap: waits for the peer.
  static Result<std::unique_ptr<Channel>> connected(std::unique_ptr<Channel> fresh) {
    auto channel = std::make_unique<ScrambledChannel>(std::move(fresh), std::byte{0xc3});
    TRY(channel->say());
    channel->inner_->set_receive_timeout(std::chrono::seconds(10));
    TRY(channel->inner_->receive(channel->heard_));
    channel->heard_bytes_ = kHandshake;
    TRY(channel->check());
    channel->inner_->set_receive_timeout(Duration::zero());
    return std::unique_ptr<Channel>(std::move(channel));
  }

  ScrambledChannel(std::unique_ptr<Channel> inner, std::byte key) : inner_(std::move(inner)), key_(key) {}

  Status send(std::span<const iovec> parts) override {
    std::vector<std::byte> bytes;
    for (const iovec& part : parts) {
      const auto* begin = static_cast<const std::byte*>(part.iov_base);
      bytes.insert(bytes.end(), begin, begin + part.iov_len);
    }
    scramble(bytes, key_);
    const iovec all{bytes.data(), bytes.size()};
    return inner_->send({&all, 1});
  }
  Status receive(MutableBytes exactly) override {
    TRY(inner_->receive(exactly));
    unscramble(exactly);
    return {};
  }
  Result<std::size_t> receive_some(MutableBytes room) override {
    if (heard_bytes_ < kHandshake) {
      heard_bytes_ += TRY(inner_->receive_some(MutableBytes(heard_).subspan(heard_bytes_)));
      if (heard_bytes_ < kHandshake) return std::size_t{0};
      TRY(check());
      TRY(say());
    }
    const std::size_t got = TRY(inner_->receive_some(room));
    unscramble(room.first(got));
    return got;
  }
  int descriptor() const noexcept override { return inner_->descriptor(); }
  Status finish_sending() override { return inner_->finish_sending(); }
  void abort() noexcept override { inner_->abort(); }
  void set_receive_timeout(Duration timeout) noexcept override { inner_->set_receive_timeout(timeout); }
  std::uint64_t bytes_sent() const noexcept override { return without_handshake(inner_->bytes_sent()); }
  std::uint64_t bytes_received() const noexcept override { return without_handshake(inner_->bytes_received()); }
  SendWaits send_waits() const noexcept override { return inner_->send_waits(); }
  SendQueue send_queue() noexcept override { return inner_->send_queue(); }

 private:
  static std::uint64_t without_handshake(std::uint64_t bytes) {
    return bytes - std::min(bytes, std::uint64_t{kHandshake});
  }
  Status say() { return send_bytes(*inner_, std::array{std::byte{'X'}, std::byte{'O'}, std::byte{'R'}, key_}); }
  Status check() const {
    const bool right = heard_[0] == std::byte{'X'} && heard_[1] == std::byte{'O'} && heard_[2] == std::byte{'R'};
    return right ? Status{} : fail(ErrorKind::kProtocol, "the peer does not scramble");
  }
  void unscramble(MutableBytes bytes) const { scramble(bytes, heard_[3]); }
  /// Eight bytes at a time: tests send many, also where nothing is optimized.
  static void scramble(MutableBytes bytes, std::byte key) {
    std::uint64_t keys = 0, word = 0;
    std::memset(&keys, std::to_integer<int>(key), sizeof keys);
    for (std::size_t at = 0; at < bytes.size(); at += sizeof word) {
      const std::size_t size = std::min(sizeof word, bytes.size() - at);
      std::memcpy(&word, bytes.data() + at, size);
      word ^= keys;
      std::memcpy(bytes.data() + at, &word, size);
    }
  }

  std::unique_ptr<Channel> inner_;
  const std::byte key_;
  std::array<std::byte, kHandshake> heard_{};
  std::size_t heard_bytes_ = 0;
};

}  // namespace godwit::testing
