// Encoders that answer later, in any order, and go wrong now and then: what a device may do to a lane. Blocks are
// encoded when they are answered, so whoever touches a block that is under way is found out.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <mutex>
#include <random>
#include <stop_token>
#include <utility>
#include <vector>

#include "codec/encoder_provider.h"
#include "tests/support/lateness.h"

namespace godwit::testing {

class LateEncoder final : public Encoder {
 public:
  LateEncoder(std::unique_ptr<Encoder> inner, const Lateness& lateness, std::uint64_t seed)
      : inner_(std::move(inner)), lateness_(lateness), random_(seed) {}
  /// As a device that finishes what is under way: the buffers are still there.
  ~LateEncoder() override {
    for (Job& job : jobs_) {
      expect_untouched(job);
      std::ranges::fill(job.job.output, std::byte{0xdd});
    }
  }
  CodecId id() const noexcept override { return inner_->id(); }
  std::size_t depth() const noexcept override { return lateness_.depth; }

  Result<std::size_t> submit(std::span<const EncodeJob> jobs) override {
    EXPECT_TRUE(!lateness_.counted || jobs_.size() < lateness_.depth) << "the lane counts its jobs";
    if (jobs.empty() || jobs_.size() >= lateness_.depth || happens(lateness_.refused)) return std::size_t{0};
    if (happens(lateness_.not_taken)) return fail(ErrorKind::kIo, "a device's error at submit");
    const EncodeJob& job = jobs.front();
    std::ranges::fill(job.output, std::byte{0xee});
    jobs_.push_back({job, {job.input.begin(), job.input.end()}});
    return std::size_t{1};
  }
  Result<std::size_t> poll(std::span<EncodeDone> done) override {
    if (lateness_.dies_after != 0 && ++polls_ > lateness_.dies_after) return fail(ErrorKind::kIo, "the device is gone");
    std::size_t n = 0;
    while (n < done.size() && !jobs_.empty() && lateness_.ever_answers && happens(lateness_.answered)) {
      done[n++] = answer_one();
    }
    return n;
  }
  Result<std::size_t> collect(std::span<EncodeDone> done, std::stop_token stop) override {
    if (!lateness_.ever_answers) {
      std::unique_lock lock(mutex_);
      std::condition_variable_any().wait(lock, stop, [] { return false; });
    }
    if (stop.stop_requested() || jobs_.empty() || done.empty()) return std::size_t{0};
    const std::size_t polled = TRY(poll(done));
    if (polled > 0) return polled;
    done[0] = answer_one();
    return std::size_t{1};
  }

 private:
  struct Job {
    EncodeJob job;
    std::vector<std::byte> input;  ///< as it was submitted
  };
  bool happens(unsigned percent) { return random_() % 100 < percent; }
  void expect_untouched(const Job& job) { EXPECT_TRUE(std::ranges::equal(job.job.input, job.input)); }
  EncodeDone answer_one() {
    std::swap(jobs_[random_() % jobs_.size()], jobs_.back());
    const Job job = std::move(jobs_.back());
    jobs_.pop_back();
    expect_untouched(job);
    if (happens(lateness_.failed)) return {.ticket = job.job.ticket, .failed = true};
    EncodeDone done;
    EXPECT_EQ(inner_->submit({&job.job, 1}).value(), 1U);
    EXPECT_EQ(inner_->collect({&done, 1}, {}).value(), 1U);
    return done;
  }

  std::unique_ptr<Encoder> inner_;
  Lateness lateness_;
  std::mt19937_64 random_;
  std::vector<Job> jobs_;
  unsigned polls_ = 0;
  std::mutex mutex_;
};

class LateEncoders final : public EncoderProvider {
 public:
  explicit LateEncoders(Lateness with = {}) : lateness(with) {}
  Result<std::unique_ptr<Encoder>> lend(const CodecChoice& choice, unsigned given_up) override {
    if (given_up > 0 && !lateness.another) return std::unique_ptr<Encoder>();
    return std::make_unique<LateEncoder>(TRY(make_encoder(choice)), lateness, ++lent);
  }

  Lateness lateness;  ///< of those that are lent from now on
  std::atomic<unsigned> lent{0};
};

}  // namespace godwit::testing
