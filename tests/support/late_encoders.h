// Encoders that answer later (late_jobs.h): what a device may do to a lane of the source.
#pragma once

#include <gtest/gtest.h>

#include <utility>

#include "codec/encoder_provider.h"
#include "tests/support/late_jobs.h"

namespace godwit::testing {

class LateEncoder final : public LateJobs<Encoder, EncodeJob, EncodeDone> {
 public:
  LateEncoder(std::unique_ptr<Encoder> inner, const Lateness& lateness, std::uint64_t seed, SeenLate& seen)
      : LateJobs(lateness, seed, seen), inner_(std::move(inner)) {}
  CodecId id() const noexcept override { return inner_->id(); }

 private:
  EncodeDone carry_out(const EncodeJob& job) override {
    EncodeDone done;
    EXPECT_EQ(inner_->submit({&job, 1}).value(), 1U);
    EXPECT_EQ(inner_->collect({&done, 1}, {}).value(), 1U);
    return done;
  }

  std::unique_ptr<Encoder> inner_;
};

class LateEncoders final : public EncoderProvider {
 public:
  explicit LateEncoders(Lateness with = {}) : lateness(with) {}
  /// Whatever else a test is about.
  ~LateEncoders() override {
    EXPECT_EQ(seen.touched, 0U) << "somebody wrote to what an encoder had";
    EXPECT_EQ(seen.too_many, 0U) << "the lane does not count its jobs";
  }
  Result<std::unique_ptr<Encoder>> lend(const CodecChoice& choice, unsigned given_up) override {
    if (given_up > 0 && !lateness.another) return std::unique_ptr<Encoder>();
    return std::make_unique<LateEncoder>(TRY(make_encoder(choice)), lateness, ++seen.lent, seen);
  }

  Lateness lateness;  ///< of those that are lent from now on
  SeenLate seen;
};

}  // namespace godwit::testing
