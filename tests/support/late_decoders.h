// Decoders that answer later (late_jobs.h): what a device may do to a lane of the sink.
#pragma once

#include <utility>

#include "codec/decoder_provider.h"
#include "tests/support/late_jobs.h"

namespace godwit::testing {

class FakeLateDecoder final : public LateJobs<LateDecoder, DecodeJob, DecodeDone> {
 public:
  FakeLateDecoder(std::unique_ptr<Decoder> inner, const Lateness& lateness, std::uint64_t seed, SeenLate& seen)
      : LateJobs(lateness, seed, seen), inner_(std::move(inner)) {}

 private:
  DecodeDone carry_out(const DecodeJob& job) override {
    if (!inner_->decode(job.input, job.output)) return {.ticket = job.ticket, .failed = true};
    if (!fails()) return {.ticket = job.ticket, .size = job.output.size()};
    // It says how much it has written, and it is not all.
    job.output.back() ^= std::byte{0xff};
    return {.ticket = job.ticket, .size = job.output.size() - 1};
  }

  std::unique_ptr<Decoder> inner_;
};

class LateDecoders final : public DecoderProvider {
 public:
  explicit LateDecoders(Lateness with = {}) : lateness(with) {}
  Result<std::unique_ptr<LateDecoder>> lend(CodecId codec, unsigned given_up) override {
    if (given_up > 0 && !lateness.another) return std::unique_ptr<LateDecoder>();
    return std::make_unique<FakeLateDecoder>(TRY(make_decoder(codec)), lateness, ++seen.lent, seen);
  }

  Lateness lateness;  ///< of those that are lent from now on
  SeenLate seen;
};

}  // namespace godwit::testing
