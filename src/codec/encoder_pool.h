// Threads that encode for the lanes while CPUs are idle: as many as are allowed now, which may change at any time.
//
//   lane --submit()--> is a thread of the pool free?   yes: that thread encodes it  --> poll(), in any order
//                                                      no: the lane encodes it itself --> poll(), at once
//
// So a lane never waits for the pool where it could do the work itself, and connections and encoding threads are two
// numbers. The lane restores the order of its blocks (engine/order_ring.h).
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "codec/encoder_provider.h"

namespace godwit {

/// Any thread.
class EncoderPool final : public EncoderProvider {
 public:
  /// `encoders` outlives it, and lends to its threads as to lanes. `most` threads, none of them allowed yet; each calls
  /// `on_start` first.
  EncoderPool(EncoderProvider& encoders, unsigned most, std::function<void()> on_start = {});
  /// After all encoders that it has lent.
  ~EncoderPool() override;

  /// An encoder that hands its jobs to a free thread of the pool. What answers later by itself (a device's) is lent as
  /// it is.
  Result<std::unique_ptr<Encoder>> lend(const CodecChoice& choice, unsigned given_up) override;

  /// From now on up to so many threads take new jobs, `most` at most. Threads are started when they are first allowed;
  /// where none can be, it is fewer. One thread at a time.
  void allow(unsigned threads);
  /// No more threads are started, for what is left of this migration. Any thread.
  void start_no_more() noexcept { no_more_ = true; }
  unsigned most() const noexcept { return most_; }

  /// What the pool has done.
  struct Use {
    unsigned allowed = 0;       ///< threads, now
    unsigned at_work = 0;       ///< threads, now
    unsigned most_at_work = 0;  ///< at once, so far
    std::uint64_t blocks = 0;   ///< encoded by threads of the pool so far
  };
  Use use() const;

  /// Blocks of one lane that may be encoded at once, by the pool and by the lane: enough for a few lanes to keep many
  /// threads at work while they wait for their connections.
  static constexpr std::size_t kDepth = 8;

 private:
  friend class PooledEncoder;
  class Mailbox;
  struct Job {
    EncodeJob job;
    CodecChoice choice;
    Mailbox* answers = nullptr;
  };
  bool take(const Job& job);
  std::size_t forget(const Mailbox& answers);
  std::optional<EncodeJob> take_back(const Mailbox& answers);
  void run(const std::stop_token& stop);
  EncodeDone encode(std::unique_ptr<Encoder>& encoder, const Job& job);

  EncoderProvider& encoders_;
  unsigned most_;
  std::function<void()> on_start_;
  mutable std::mutex mutex_;
  std::condition_variable_any changed_;  ///< a job has come
  std::deque<Job> waiting_;              ///< each has a free thread that is about to take it
  unsigned allowed_ = 0;
  unsigned at_work_ = 0;  ///< jobs that were taken and are not answered
  unsigned most_at_work_ = 0;
  std::uint64_t blocks_ = 0;
  std::atomic<bool> no_more_{false};
  std::vector<std::jthread> threads_;  ///< of whoever calls allow()
};

}  // namespace godwit
