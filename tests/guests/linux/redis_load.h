// A redis under SETs: a real redis-server in the guest, a client that sets records at a rate, and the knowledge of what
// each must be.
//
//   thread: pick keys -- SET, version + 1 --> redis-server      verify: GET every key --> the record of that version?
//
// A version counts from redis' answer on: the load waits for the answers to its SETs before it lets go of the lock. The
// server keeps all in memory and saves nothing.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "areas.h"
#include "redis_client.h"

namespace godwit::guest {

class RedisLoad {
 public:
  explicit RedisLoad(Random random) : random_(random) {}

  /// Starts the server and sets so many keys for the first time. False if either fails.
  bool start(std::uint32_t keys);
  /// Sets keys, chosen at random, at the rate; never returns.
  [[noreturn]] void run();

  // From any thread.
  void set_rate(std::uint64_t keys_per_second) noexcept { rate_ = keys_per_second; }
  /// SETs that redis has confirmed.
  std::uint64_t writes() const noexcept { return writes_; }
  /// SETs that redis has not confirmed.
  std::uint64_t refused() const noexcept { return refused_; }
  /// Reads every key, and counts those that are not as they were set. A key too many counts too.
  std::uint64_t verify();

 private:
  void set(const std::vector<std::uint32_t>& keys);
  std::uint64_t verify_some(std::uint32_t begin, std::uint32_t end);
  std::uint64_t verify_count();

  std::mutex mutex_;  // held from a SET to its answer, so that versions_ is the truth for whoever holds it
  RedisClient client_;
  std::vector<std::uint32_t> versions_;  // by key
  Random random_;
  std::string key_;
  std::string record_;
  std::atomic<bool> wants_lock_{false};  // the load does
  std::atomic<std::uint64_t> rate_{0};
  std::atomic<std::uint64_t> writes_{0};
  std::atomic<std::uint64_t> refused_{0};
};

}  // namespace godwit::guest
