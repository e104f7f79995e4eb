#include "codec/accelerated_decoders.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

namespace godwit {

/// One lane's.
class AcceleratedDecoder final : public LateDecoder {
 public:
  AcceleratedDecoder(AcceleratedDecoders& all, std::unique_ptr<DeviceQueue> device)
      : all_(all), device_(std::move(device)) {}

  std::size_t depth() const noexcept override { return device_->depth(); }

  Result<std::size_t> submit(std::span<const DecodeJob> jobs) override {
    if (jobs.empty() || jobs.front().output.size() < kLeastForDevice) return std::size_t{0};
    if (jobs.front().input.size() < kLeastToDecode) return std::size_t{0};
    if (all_.lost_.load(std::memory_order_relaxed)) return fail(ErrorKind::kIo, "the device has been given up");
    const DecodeJob& job = jobs.front();
    const DeviceJob asked{.ticket = job.ticket, .input = job.input, .output = job.output, .decodes = true};
    const std::size_t taken = TRY(device_->submit({&asked, 1}));
    if (taken == 0) all_.busy_.fetch_add(1, std::memory_order_relaxed);
    if (taken == 1) under_way_.push_back(job);
    return taken;
  }
  Result<std::size_t> poll(std::span<DecodeDone> done) override {
    return hear(done, [&](std::span<DeviceDone> answers) { return device_->poll(answers); });
  }
  Result<std::size_t> collect(std::span<DecodeDone> done, std::stop_token stop) override {
    return hear(done, [&](std::span<DeviceDone> answers) { return device_->collect(answers, stop); });
  }

 private:
  template <typename Ask>
  Result<std::size_t> hear(std::span<DecodeDone> done, const Ask& ask) {
    std::array<DeviceDone, 16> answers;
    auto heard = ask(std::span(answers).first(std::min(answers.size(), done.size())));
    if (!heard) {
      all_.lost_.store(true, std::memory_order_relaxed);
      return heard;
    }
    for (std::size_t i = 0; i < *heard; ++i) {
      // Its end: the library decodes what this lane has there, answered or not.
      if (!answers[i].broken.empty()) {
        all_.lost_.store(true, std::memory_order_relaxed);
        return fail(ErrorKind::kIo, answers[i].broken);
      }
      done[i] = {
          .ticket = answers[i].ticket, .size = answers[i].size, .failed = answers[i].failed, .busy = answers[i].busy};
      count(answers[i]);
    }
    return heard;
  }
  void count(const DeviceDone& answer) {
    const auto job = std::ranges::find(under_way_, answer.ticket, &DecodeJob::ticket);
    if (job == under_way_.end()) return;
    if (answer.busy) all_.busy_.fetch_add(1, std::memory_order_relaxed);
    if (answer.failed) {
      if (!answer.busy) all_.failed_.fetch_add(1, std::memory_order_relaxed);
    } else {
      all_.blocks_.fetch_add(1, std::memory_order_relaxed);
      all_.bytes_before_.fetch_add(job->input.size(), std::memory_order_relaxed);
      all_.bytes_after_.fetch_add(answer.size, std::memory_order_relaxed);
    }
    under_way_.erase(job);
  }

  AcceleratedDecoders& all_;
  std::unique_ptr<DeviceQueue> device_;
  std::vector<DecodeJob> under_way_;
};

Result<std::unique_ptr<LateDecoder>> AcceleratedDecoders::lend(CodecId codec, unsigned given_up) {
  if (given_up > 0) lost_.store(true, std::memory_order_relaxed);
  if (codec != CodecId::kDeflate || lost_.load(std::memory_order_relaxed)) return std::unique_ptr<LateDecoder>();
  return std::make_unique<AcceleratedDecoder>(*this, TRY(accelerator_->queue()));
}

AcceleratorUse AcceleratedDecoders::use() const {
  return {.blocks = blocks_,
          .bytes_before = bytes_before_,
          .bytes_after = bytes_after_,
          .busy = busy_,
          .failed = failed_,
          .given_up = lost_ ? "it failed again and again, or did not answer" : ""};
}

}  // namespace godwit
