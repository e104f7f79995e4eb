// Jobs for whoever encodes or decodes blocks, perhaps later: a library's answer inside submit(), a device's whenever it
// has one.
#pragma once

#include <cstddef>
#include <span>
#include <stop_token>

#include "base/result.h"

namespace godwit {

/// Owned and called by one lane's thread. Software answers inside submit() and hands the answers out in poll() and
/// collect(). A device answers later, in any order: submit() puts requests on its queue, poll() looks at the answers,
/// collect() waits for one by polling or sleeping. The lane restores the order (engine/order_ring.h).
///
/// What fails costs time or compression, never a block: the lane sees to whatever was not taken or not done, and gives
/// one up that fails again and again.
template <typename Job, typename Done>
class JobQueue {
 public:
  /// Jobs may be under way. It cancels them or waits for them: no byte of theirs is touched once it returns.
  virtual ~JobQueue() = default;
  /// Jobs that may be under way at once: 1 for software. Stays the same.
  virtual std::size_t depth() const noexcept = 0;
  /// Takes the first n jobs and gives n. n < jobs.size() when depth() jobs are under way, or when it cannot take one
  /// now, for whatever reason (a shared queue is full). Never waits for a device. An error is the first job's, which
  /// was not taken.
  virtual Result<std::size_t> submit(std::span<const Job> jobs) = 0;
  /// Hands out answers that are there, without waiting; gives how many of `done` were filled. An error here and in
  /// collect() is its end: it is destroyed, and the lane does its jobs.
  virtual Result<std::size_t> poll(std::span<Done> done) = 0;
  /// The same, but waits until there is an answer. 0: nothing under way, or stop was requested, which wakes it. A
  /// device that hangs must be noticed in here, within seconds: answer that the job has failed, or with an error.
  virtual Result<std::size_t> collect(std::span<Done> done, std::stop_token stop) = 0;
};

}  // namespace godwit
