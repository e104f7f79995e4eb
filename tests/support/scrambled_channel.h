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
#include "tests/support/passing_channel.h"

namespace godwit::testing {

class ScrambledChannel final : public PassingChannel {
 public:
  static constexpr std::size_t kHandshake = 4;

  /// For Wrap: waits for nothing.
  static Result<std::unique_ptr<Channel>> accepted(std::unique_ptr<Channel> fresh) {
    return std::make_unique<ScrambledChannel>(std::move(fresh), std::byte{0x5a});
  }
  /// For Wrap: waits for the peer.
  static Result<std::unique_ptr<Channel>> connected(std::unique_ptr<Channel> fresh) {
    const auto until = Deadline::in(std::chrono::seconds(10));
    auto channel = std::make_unique<ScrambledChannel>(std::move(fresh), std::byte{0xc3});
    TRY(channel->say(until));
    TRY(channel->inner().read(channel->heard_, kHandshake, until));
    channel->heard_bytes_ = kHandshake;
    TRY(channel->check());
    return std::unique_ptr<Channel>(std::move(channel));
  }

  ScrambledChannel(std::unique_ptr<Channel> inner, std::byte key) : PassingChannel(std::move(inner)), key_(key) {}

  Status write(std::span<const iovec> parts, const Deadline& until) override {
    std::vector<std::byte> bytes;
    for (const iovec& part : parts) {
      const auto* begin = static_cast<const std::byte*>(part.iov_base);
      bytes.insert(bytes.end(), begin, begin + part.iov_len);
    }
    scramble(bytes, key_);
    return send_bytes(inner(), bytes, until);
  }
  /// Takes more from the connection than is asked for, as one that works by records does, and keeps the rest.
  Result<std::size_t> read(MutableBytes room, std::size_t at_least, const Deadline& until) override {
    TRY(inner().read({}, 0, until));  // fails after abort(), whatever is kept here
    if (heard_bytes_ < kHandshake) {
      heard_bytes_ += TRY(inner().read(MutableBytes(heard_).subspan(heard_bytes_), 0, until));
      if (heard_bytes_ < kHandshake) return std::size_t{0};
      TRY(check());
      TRY(say(Deadline::in(Duration::zero())));
    }
    at_least = std::min(at_least, room.size());
    std::size_t have = take(room);
    while (have < at_least || (have == 0 && !room.empty())) {
      std::array<std::byte, 10000> record;
      const std::size_t got = TRY(inner().read(record, have < at_least ? 1 : 0, until));
      if (got == 0) break;
      scramble(MutableBytes(record).first(got), heard_[3]);
      kept_.insert(kept_.end(), record.begin(), record.begin() + static_cast<std::ptrdiff_t>(got));
      have += take(room.subspan(have));
    }
    return have;
  }

 private:
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
  std::size_t take(MutableBytes room) {
    const std::size_t size = std::min(room.size(), kept_.size());
    const auto end = kept_.begin() + static_cast<std::ptrdiff_t>(size);
    std::copy(kept_.begin(), end, room.begin());
    kept_.erase(kept_.begin(), end);
    return size;
  }
  Status say(const Deadline& until) {
    return send_bytes(inner(), std::array{std::byte{'X'}, std::byte{'O'}, std::byte{'R'}, key_}, until);
  }
  Status check() const {
    const bool right = heard_[0] == std::byte{'X'} && heard_[1] == std::byte{'O'} && heard_[2] == std::byte{'R'};
    return right ? Status{} : fail(ErrorKind::kProtocol, "the peer does not scramble");
  }

  const std::byte key_;
  std::array<std::byte, kHandshake> heard_{};
  std::size_t heard_bytes_ = 0;
  std::vector<std::byte> kept_;  ///< has come, and nobody has asked for it yet
};

}  // namespace godwit::testing
