// A link that is cut and comes back: passes connections on, cuts all of them at a chosen byte, lets none through for a
// while, or keeps what one side has sent until later.
#pragma once

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "net/channel.h"
#include "net/rate_limit.h"

namespace godwit::testing {

class CuttingRelay {
 public:
  /// `of_each`: what a connection carries on its way there; 0: as much as comes.
  explicit CuttingRelay(Address to, BitRate of_each = {}) : to_(std::move(to)), of_each_(of_each) {
    listener_ = std::move(listen_on(parse_address("tcp://127.0.0.1:0").value()).value());
    if (of_each_ > BitRate{}) keep_little();
    thread_ = std::jthread([this] { run(); });
  }
  ~CuttingRelay() {
    listener_->abort();
    thread_.join();
    release();
    cut();
    std::list<Pair> ended;
    {
      const std::lock_guard lock(mutex_);
      ended.swap(pairs_);
    }
  }
  Address address() const { return listener_->address(); }

  /// All connections end, both ways.
  void cut() {
    const std::lock_guard lock(mutex_);
    for (Pair& pair : pairs_) pair.abort();
  }
  /// While it is down connections that come are ended at once.
  void let_through(bool up) { up_ = up; }
  /// All are cut once so many bytes more have come from the side that connects; that many of them still arrive.
  void cut_after(std::uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    left_ = bytes;
  }
  bool has_cut() const {
    const std::lock_guard lock(mutex_);
    return left_ == kNever;
  }
  /// Only the side that connects is cut; the other side's connections stay, and what was sent to them comes later.
  void cut_and_keep() {
    const std::lock_guard lock(mutex_);
    for (Pair& pair : pairs_) {
      pair.keeps = true;
      pair.from->abort();
    }
  }
  /// What was kept is sent now.
  void release() {
    {
      const std::lock_guard lock(mutex_);
      for (Pair& pair : pairs_) pair.keeps = false;
    }
    changed_.notify_all();
  }
  /// While it holds, what comes is read and kept; nothing arrives.
  void hold(bool hold) {
    {
      const std::lock_guard lock(mutex_);
      holds_ = hold;
    }
    changed_.notify_all();
  }
  /// Connections that come from now on go there.
  void lead_to(Address to) {
    const std::lock_guard lock(mutex_);
    to_ = std::move(to);
  }
  unsigned connections() const { return connections_; }

 private:
  /// A link that carries little has no megabytes under way.
  void keep_little() const {
    constexpr int kUnderWay = 32 * 1024;
    (void)::setsockopt(listener_->descriptor(), SOL_SOCKET, SO_RCVBUF, &kUnderWay, sizeof kUnderWay);
  }
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};
  struct Pair {
    std::unique_ptr<Channel> from;
    std::unique_ptr<Channel> to;
    bool keeps = false;
    std::jthread there = {};
    std::jthread back = {};
    void abort() {
      from->abort();
      if (!keeps) to->abort();
    }
  };

  void run() {
    while (auto from = listener_->accept({})) {
      ++connections_;
      Address where;
      {
        const std::lock_guard lock(mutex_);
        where = to_;
      }
      if (!up_) continue;
      auto to = connect_to(where);
      if (!to) continue;
      if (of_each_ > BitRate{}) to = limit_rate(*std::move(to), std::make_shared<RateLimit>(of_each_, clock_));
      const std::lock_guard lock(mutex_);
      Pair& pair = pairs_.emplace_back(Pair{.from = std::move(*from), .to = std::move(*to)});
      pair.there = std::jthread([this, &pair] { pass(*pair.from, *pair.to, &pair); });
      pair.back = std::jthread([this, &pair] { pass(*pair.to, *pair.from, nullptr); });
    }
  }
  /// `counted`: on the way there.
  void pass(Channel& from, Channel& to, Pair* counted) {
    std::vector<std::byte> bytes(65536);
    while (true) {
      if (!receive_bytes(from, MutableBytes(bytes).first(1))) break;
      const auto more = from.read(MutableBytes(bytes).subspan(1), 0, Deadline::never());
      Bytes came = Bytes(bytes).first(1 + (more ? *more : 0));
      if (counted != nullptr) came = came.first(allowed(came.size(), *counted));
      if (!send_bytes(to, came)) break;
      if (counted != nullptr) strike();
    }
    if (counted != nullptr) {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return !counted->keeps; });
    }
    (void)to.shut_down();
  }
  std::size_t allowed(std::size_t size, Pair& pair) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !pair.keeps && !holds_; });
    if (left_ == kNever) return size;
    const auto passes = std::min<std::uint64_t>(left_, size);
    left_ -= passes;
    return passes;
  }
  void strike() {
    const std::lock_guard lock(mutex_);
    if (left_ != 0) return;
    left_ = kNever;
    for (Pair& pair : pairs_) pair.abort();
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Address to_;
  const SteadyClock clock_;
  const BitRate of_each_;
  std::atomic<bool> up_{true};
  std::atomic<unsigned> connections_{0};
  std::uint64_t left_ = kNever;
  bool holds_ = false;
  std::unique_ptr<Listener> listener_;
  std::list<Pair> pairs_;
  std::jthread thread_;
};

}  // namespace godwit::testing
