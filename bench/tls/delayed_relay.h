// A long way between two ends on one host: what comes is passed on after a while, in both directions.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "net/address.h"
#include "net/channel.h"

namespace godwit::bench {

/// One direction of a connection: read at once, written `delay` later.
class DelayedPipe {
 public:
  DelayedPipe(Channel& from, Channel& to, std::chrono::nanoseconds delay)
      : from_(from), to_(to), delay_(delay), reader_([this] { read(); }), writer_([this] { write(); }) {}
  ~DelayedPipe() {
    from_.abort();
    to_.abort();
  }

 private:
  using Time = std::chrono::steady_clock::time_point;
  struct Piece {
    Time due;
    std::vector<std::byte> bytes;  ///< none: the end
  };
  void read() {
    std::vector<std::byte> room(64 * 1024);
    while (true) {
      const auto got = from_.read(room, 1, Deadline::never());
      const std::size_t size = got.value_or(0);
      {
        const std::lock_guard lock(mutex_);
        pieces_.push_back({std::chrono::steady_clock::now() + delay_, {room.data(), room.data() + size}});
      }
      come_.notify_one();
      if (size == 0) return;
    }
  }
  void write() {
    while (true) {
      std::unique_lock lock(mutex_);
      come_.wait(lock, [&] { return !pieces_.empty(); });
      const Piece piece = std::move(pieces_.front());
      pieces_.pop_front();
      lock.unlock();
      std::this_thread::sleep_until(piece.due);
      if (piece.bytes.empty() || !send_bytes(to_, piece.bytes)) return to_.abort();
    }
  }

  Channel& from_;
  Channel& to_;
  const std::chrono::nanoseconds delay_;
  std::mutex mutex_;
  std::condition_variable come_;
  std::deque<Piece> pieces_;
  std::jthread reader_;
  std::jthread writer_;
};

class DelayedRelay {
 public:
  DelayedRelay(std::unique_ptr<Listener> listener, Address to, std::chrono::nanoseconds round_trip)
      : listener_(std::move(listener)), to_(std::move(to)), delay_(round_trip / 2), accepting_([this] { accept(); }) {}
  ~DelayedRelay() { listener_->abort(); }
  Address address() const { return listener_->address(); }

 private:
  void accept() {
    while (true) {
      auto near = listener_->accept(std::chrono::hours(1));
      if (!near) return;
      auto far = connect_to(to_);
      if (!far) return;
      ends_.push_back(*std::move(near));
      ends_.push_back(*std::move(far));
      Channel& a = **std::prev(ends_.end(), 2);
      Channel& b = *ends_.back();
      pipes_.push_back(std::make_unique<DelayedPipe>(a, b, delay_));
      pipes_.push_back(std::make_unique<DelayedPipe>(b, a, delay_));
    }
  }

  std::unique_ptr<Listener> listener_;
  const Address to_;
  const std::chrono::nanoseconds delay_;
  std::deque<std::unique_ptr<Channel>> ends_;
  std::deque<std::unique_ptr<DelayedPipe>> pipes_;
  std::jthread accepting_;
};

}  // namespace godwit::bench
