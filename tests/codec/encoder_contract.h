// The contract of encoders, for all of them: libraries, late ones, devices.
#pragma once

#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "codec/codec.h"
#include "tests/codec/blocks.h"

namespace godwit::testing {

/// What every encoder keeps, whatever its depth is, and in whatever order it answers.
inline void expect_contract(Encoder& encoder, CodecId id) {
  EXPECT_EQ(encoder.id(), id);
  const std::size_t depth = encoder.depth();
  ASSERT_GE(depth, 1u);
  const Buffer block = text(kPage, 1);
  std::vector<Guarded> outputs(depth + 1, Guarded(kPage));
  std::vector<EncodeJob> jobs;
  for (Guarded& output : outputs) jobs.push_back({.ticket = 7 + jobs.size(), .input = block, .output = output.room()});
  std::vector<EncodeDone> done(depth + 1);
  EXPECT_EQ(encoder.collect(done, {}).value_or(99), 0u) << "nothing under way";
  EXPECT_EQ(encoder.submit({}).value_or(99), 0u);
  std::size_t taken = 0;
  while (taken < depth) {
    const std::size_t more = encoder.submit(std::span(jobs).subspan(taken)).value_or(0);
    ASSERT_GT(more, 0u) << taken << " are under way";
    taken += more;
  }
  ASSERT_EQ(taken, depth);
  const auto last = std::span(jobs).last(1);
  EXPECT_EQ(encoder.submit(last).value_or(99), 0u) << "as many are under way as may be";
  EXPECT_EQ(encoder.collect({}, {}).value_or(99), 0u);
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(encoder.collect(done, stop.get_token()).value_or(99), 0u);
  std::set<std::uint64_t> answered;
  while (answered.size() < depth) {
    const std::size_t came = encoder.collect(done, {}).value_or(0);
    ASSERT_GT(came, 0u) << answered.size() << " of " << depth << " have been answered";
    for (const EncodeDone& one : std::span(done).first(came)) {
      EXPECT_LT(one.ticket, 7 + depth);
      EXPECT_TRUE(answered.insert(one.ticket).second) << "answered twice";
      EXPECT_GT(one.size, 0u);
      EXPECT_LT(one.size, kPage);
    }
  }
  EXPECT_EQ(*answered.begin(), 7u);
  EXPECT_EQ(encoder.collect(done, {}).value_or(99), 0u);
  EXPECT_EQ(encoder.submit(last).value_or(99), 1u);
  EXPECT_EQ(encoder.collect(done, {}).value_or(99), 1u);
  EXPECT_EQ(done[0].ticket, 7 + depth);
  for (Guarded& output : outputs) EXPECT_TRUE(output.intact());
}

}  // namespace godwit::testing
