// A channel that goes wrong after a number of bytes: for tests of what happens when a connection breaks half-way.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "net/channel.h"

namespace godwit::testing {

struct Fault {
  static constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();
  enum class Kind {
    kFail,   ///< this side's calls fail with kPeerLost from then on; the peer notices nothing
    kCut,    ///< as kFail, and the connection ends, so that the peer notices too
    kStall,  ///< this side's calls block until abort(), as with a peer that hangs
  };
  Kind kind = Kind::kCut;
  std::uint64_t after_sent = kNever;      ///< bytes that still pass; the next one does not
  std::uint64_t after_received = kNever;  ///< the same for the other direction
};

/// Passes exactly the bytes that the fault allows on to `inner`, then does what the fault says. Threads as in Channel.
class FaultyChannel final : public Channel {
 public:
  FaultyChannel(std::unique_ptr<Channel> inner, Fault fault) : inner_(std::move(inner)), fault_(fault) {}

  Status send(std::span<const iovec> parts) override {
    if (broken_) return break_down("send");
    std::vector<iovec> passing;
    std::uint64_t room = fault_.after_sent - std::min(fault_.after_sent, inner_->bytes_sent());
    bool all = true;
    for (iovec part : parts) {
      const auto length = static_cast<std::size_t>(std::min<std::uint64_t>(part.iov_len, room));
      all = all && length == part.iov_len;
      passing.push_back({part.iov_base, length});
      room -= length;
    }
    if (Status sent = inner_->send(passing); !sent) return sent;
    return all ? Status{} : break_down("send");
  }

  Status receive(MutableBytes exactly) override {
    if (broken_) return break_down("receive");
    const std::uint64_t room = fault_.after_received - std::min(fault_.after_received, inner_->bytes_received());
    const auto length = static_cast<std::size_t>(std::min<std::uint64_t>(exactly.size(), room));
    if (Status got = inner_->receive(exactly.first(length)); !got) return got;
    return length == exactly.size() ? Status{} : break_down("receive");
  }

  Result<std::size_t> receive_some(MutableBytes room) override {
    if (broken_) return fail(break_down("receive").error());
    const std::uint64_t left = fault_.after_received - std::min(fault_.after_received, inner_->bytes_received());
    if (left == 0 && !room.empty()) return fail(break_down("receive").error());
    return inner_->receive_some(room.first(static_cast<std::size_t>(std::min<std::uint64_t>(room.size(), left))));
  }
  int descriptor() const noexcept override { return inner_->descriptor(); }

  Status finish_sending() override { return broken_ ? break_down("finish sending") : inner_->finish_sending(); }

  void abort() noexcept override {
    {
      const std::lock_guard lock(mutex_);
      aborted_ = true;
    }
    changed_.notify_all();
    inner_->abort();
  }
  void set_receive_timeout(Duration timeout) noexcept override { inner_->set_receive_timeout(timeout); }
  std::uint64_t bytes_sent() const noexcept override { return inner_->bytes_sent(); }
  std::uint64_t bytes_received() const noexcept override { return inner_->bytes_received(); }
  SendWaits send_waits() const noexcept override { return inner_->send_waits(); }
  SendQueue send_queue() noexcept override { return inner_->send_queue(); }

  /// Whether the fault has struck.
  bool broken() const noexcept { return broken_; }

 private:
  Status break_down(const char* during) {
    broken_ = true;
    if (fault_.kind == Fault::Kind::kCut) inner_->abort();
    std::unique_lock lock(mutex_);
    if (fault_.kind == Fault::Kind::kStall) changed_.wait(lock, [&] { return aborted_; });
    if (aborted_) return fail(ErrorKind::kCancelled, std::string(during) + ": the connection was aborted");
    return fail(ErrorKind::kPeerLost, std::string(during) + ": injected fault");
  }

  std::unique_ptr<Channel> inner_;
  Fault fault_;
  std::atomic<bool> broken_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool aborted_ = false;
};

}  // namespace godwit::testing
