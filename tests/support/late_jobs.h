// A codec that stands for a device: it answers later, in any order, and goes wrong now and then. Jobs are done when
// they are answered, so whoever touches a block that is under way is found out.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <random>
#include <stop_token>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace godwit::testing {

/// Odds in percent, of each job.
struct Lateness {
  std::size_t depth = 8;
  unsigned refused = 10;   ///< at submit()
  unsigned not_taken = 5;  ///< submit() ends with an error
  unsigned failed = 10;    ///< in its answer
  unsigned answered = 40;  ///< with each poll()
  bool ever_answers = true;
  bool another = true;      ///< there is a further one for one that was given up
  bool counted = true;      ///< whoever submits is to know how many are under way
  unsigned dies_after = 0;  ///< polls after which poll() and collect() end with an error; 0: never
};

/// What all codecs of one provider saw. A test expects that nobody touched what was theirs, nor gave them too much.
struct SeenLate {
  std::atomic<unsigned> lent{0};
  std::atomic<unsigned> done{0};       ///< jobs, well
  std::atomic<unsigned> reordered{0};  ///< answered before an older one
  std::atomic<unsigned> touched{0};    ///< blocks that somebody else has written to while they were under way
  std::atomic<unsigned> too_many{0};   ///< jobs beyond the depth
};

/// `Queue` is a JobQueue<Job, Done>, or one with more to it.
template <typename Queue, typename Job, typename Done>
class LateJobs : public Queue {
 public:
  LateJobs(const Lateness& lateness, std::uint64_t seed, SeenLate& seen)
      : lateness_(lateness), random_(seed), seen_(seen) {}
  /// As a device that finishes what is under way: the buffers are still there.
  ~LateJobs() override {
    for (const Taken& taken : taken_) {
      look_at(taken);
      std::ranges::fill(taken.job.output, std::byte{0xdd});
    }
  }
  std::size_t depth() const noexcept override { return lateness_.depth; }

  Result<std::size_t> submit(std::span<const Job> jobs) override {
    if (jobs.empty()) return std::size_t{0};
    if (lateness_.counted && taken_.size() >= lateness_.depth) ++seen_.too_many;
    if (taken_.size() >= lateness_.depth || happens(lateness_.refused)) return std::size_t{0};
    if (happens(lateness_.not_taken)) return fail(ErrorKind::kIo, "a device's error at submit");
    const Job& job = jobs.front();
    std::ranges::fill(job.output, std::byte{0xee});
    taken_.push_back({job, {job.input.begin(), job.input.end()}});
    return std::size_t{1};
  }
  Result<std::size_t> poll(std::span<Done> done) override {
    if (lateness_.dies_after != 0 && ++polls_ > lateness_.dies_after) return fail(ErrorKind::kIo, "the device is gone");
    std::size_t n = 0;
    while (n < done.size() && !taken_.empty() && lateness_.ever_answers && happens(lateness_.answered)) {
      done[n++] = answer_one();
    }
    return n;
  }
  Result<std::size_t> collect(std::span<Done> done, std::stop_token stop) override {
    if (!lateness_.ever_answers) {
      std::unique_lock lock(mutex_);
      std::condition_variable_any().wait(lock, stop, [] { return false; });
    }
    if (stop.stop_requested() || taken_.empty() || done.empty()) return std::size_t{0};
    const std::size_t polled = TRY(poll(done));
    if (polled > 0) return polled;
    done[0] = answer_one();
    return std::size_t{1};
  }

 protected:
  bool fails() { return happens(lateness_.failed); }

 private:
  struct Taken {
    Job job;
    std::vector<std::byte> input;  ///< as it was submitted
  };
  virtual Done carry_out(const Job& job) = 0;

  bool happens(unsigned percent) { return random_() % 100 < percent; }
  void look_at(const Taken& taken) {
    const bool ours = std::ranges::all_of(taken.job.output, [](auto byte) { return byte == std::byte{0xee}; });
    if (!ours || !std::ranges::equal(taken.job.input, taken.input)) ++seen_.touched;
  }
  Done answer_one() {
    const auto at = static_cast<std::ptrdiff_t>(random_() % taken_.size());
    if (at != 0) ++seen_.reordered;
    const Taken taken = std::move(taken_[static_cast<std::size_t>(at)]);
    taken_.erase(taken_.begin() + at);
    look_at(taken);
    if (fails()) return {.ticket = taken.job.ticket, .failed = true};
    const Done done = carry_out(taken.job);
    if (!done.failed) ++seen_.done;
    return done;
  }

  Lateness lateness_;
  std::mt19937_64 random_;
  SeenLate& seen_;
  std::vector<Taken> taken_;  ///< the oldest first
  unsigned polls_ = 0;
  std::mutex mutex_;
};

}  // namespace godwit::testing
