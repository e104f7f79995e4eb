// Decoders that answer later, in any order, and go wrong now and then: what a device may do to a lane of the sink.
// Blocks are decoded when they are answered, so whoever touches a block that is under way is found out.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <random>
#include <utility>
#include <vector>

#include "codec/decoder_provider.h"
#include "tests/support/lateness.h"

namespace godwit::testing {

/// What all decoders of one provider did.
struct DecodedLate {
  std::atomic<unsigned> lent{0};
  std::atomic<unsigned> decoded{0};    ///< blocks
  std::atomic<unsigned> reordered{0};  ///< answered before an older one
  std::atomic<unsigned> touched{0};    ///< blocks that somebody else has written to while they were under way
  std::atomic<unsigned> too_many{0};   ///< jobs beyond the depth
};

class FakeLateDecoder final : public LateDecoder {
 public:
  FakeLateDecoder(std::unique_ptr<Decoder> inner, const Lateness& lateness, std::uint64_t seed, DecodedLate& did)
      : inner_(std::move(inner)), lateness_(lateness), random_(seed), did_(did) {}
  /// As a device that finishes what is under way: the buffers are still there.
  ~FakeLateDecoder() override {
    for (Job& job : jobs_) {
      look_at(job);
      std::ranges::fill(job.job.output, std::byte{0xdd});
    }
  }
  std::size_t depth() const noexcept override { return lateness_.depth; }

  Result<std::size_t> submit(std::span<const DecodeJob> jobs) override {
    if (jobs.empty()) return std::size_t{0};
    if (lateness_.counted && jobs_.size() >= lateness_.depth) ++did_.too_many;
    if (jobs_.size() >= lateness_.depth || happens(lateness_.refused)) return std::size_t{0};
    if (happens(lateness_.not_taken)) return fail(ErrorKind::kIo, "a device's error at submit");
    const DecodeJob& job = jobs.front();
    std::ranges::fill(job.output, std::byte{0xee});
    jobs_.push_back({job, {job.input.begin(), job.input.end()}});
    return std::size_t{1};
  }
  Result<std::size_t> poll(std::span<DecodeDone> done) override {
    if (lateness_.dies_after != 0 && ++polls_ > lateness_.dies_after) return fail(ErrorKind::kIo, "the device is gone");
    std::size_t n = 0;
    while (n < done.size() && !jobs_.empty() && lateness_.ever_answers && happens(lateness_.answered)) {
      done[n++] = answer_one();
    }
    return n;
  }
  Result<std::size_t> collect(std::span<DecodeDone> done, std::stop_token stop) override {
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
    DecodeJob job;
    std::vector<std::byte> input;  ///< as it was submitted
  };
  bool happens(unsigned percent) { return random_() % 100 < percent; }
  void look_at(const Job& job) {
    const bool output_is_ours = std::ranges::all_of(job.job.output, [](auto byte) { return byte == std::byte{0xee}; });
    if (!output_is_ours || !std::ranges::equal(job.job.input, job.input)) ++did_.touched;
  }
  DecodeDone answer_one() {
    const auto at = static_cast<std::ptrdiff_t>(random_() % jobs_.size());
    if (at != 0) ++did_.reordered;
    const Job job = std::move(jobs_[static_cast<std::size_t>(at)]);
    jobs_.erase(jobs_.begin() + at);
    look_at(job);
    if (happens(lateness_.failed)) return {.ticket = job.job.ticket, .failed = true};
    if (!inner_->decode(job.job.input, job.job.output)) return {.ticket = job.job.ticket, .failed = true};
    if (happens(lateness_.failed)) {  // it says how much it has written, and it is not all
      job.job.output.back() ^= std::byte{0xff};
      return {.ticket = job.job.ticket, .size = job.job.output.size() - 1};
    }
    ++did_.decoded;
    return {.ticket = job.job.ticket, .size = job.job.output.size()};
  }

  std::unique_ptr<Decoder> inner_;
  Lateness lateness_;
  std::mt19937_64 random_;
  DecodedLate& did_;
  std::vector<Job> jobs_;
  unsigned polls_ = 0;
  std::mutex mutex_;
};

class LateDecoders final : public DecoderProvider {
 public:
  explicit LateDecoders(Lateness with = {}) : lateness(with) {}
  Result<std::unique_ptr<LateDecoder>> lend(CodecId codec, unsigned given_up) override {
    if (given_up > 0 && !lateness.another) return std::unique_ptr<LateDecoder>();
    return std::make_unique<FakeLateDecoder>(TRY(make_decoder(codec)), lateness, ++did.lent, did);
  }

  Lateness lateness;  ///< of those that are lent from now on
  DecodedLate did;
};

}  // namespace godwit::testing
