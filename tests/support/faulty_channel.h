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

#include "tests/support/passing_channel.h"

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
class FaultyChannel final : public PassingChannel {
 public:
  FaultyChannel(std::unique_ptr<Channel> inner, Fault fault) : PassingChannel(std::move(inner)), fault_(fault) {}

  Status write(std::span<const iovec> parts, const Deadline& until) override {
    if (broken_) return break_down("send");
    std::vector<iovec> passing;
    std::uint64_t room = fault_.after_sent - std::min(fault_.after_sent, link().bytes_sent());
    bool all = true;
    for (iovec part : parts) {
      const auto length = static_cast<std::size_t>(std::min<std::uint64_t>(part.iov_len, room));
      all = all && length == part.iov_len;
      passing.push_back({part.iov_base, length});
      room -= length;
    }
    if (Status sent = inner().write(passing, until); !sent) return sent;
    return all ? Status{} : break_down("send");
  }

  Result<std::size_t> read(MutableBytes room, std::size_t at_least, const Deadline& until) override {
    if (broken_) return fail(break_down("receive").error());
    const std::uint64_t left = fault_.after_received - std::min(fault_.after_received, link().bytes_received());
    if (left == 0 && !room.empty()) return fail(break_down("receive").error());
    const auto passing = room.first(static_cast<std::size_t>(std::min<std::uint64_t>(room.size(), left)));
    const std::size_t got = TRY(inner().read(passing, std::min(at_least, passing.size()), until));
    if (got < at_least) return fail(break_down("receive").error());
    return got;
  }
  Status shut_down() override { return broken_ ? break_down("finish sending") : inner().shut_down(); }

  void abort() noexcept override {
    {
      const std::lock_guard lock(mutex_);
      aborted_ = true;
    }
    changed_.notify_all();
    inner().abort();
  }

  /// Whether the fault has struck.
  bool broken() const noexcept { return broken_; }

 private:
  Status break_down(const char* during) {
    broken_ = true;
    if (fault_.kind == Fault::Kind::kCut) inner().abort();
    std::unique_lock lock(mutex_);
    if (fault_.kind == Fault::Kind::kStall) changed_.wait(lock, [&] { return aborted_; });
    if (aborted_) return fail(ErrorKind::kCancelled, std::string(during) + ": the connection was aborted");
    return fail(ErrorKind::kPeerLost, std::string(during) + ": injected fault");
  }

  Fault fault_;
  std::atomic<bool> broken_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool aborted_ = false;
};

}  // namespace godwit::testing
