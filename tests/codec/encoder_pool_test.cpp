// Encoders that are several threads at work: every job is answered once, by whoever did it, and nothing of it is
// touched once its encoder is gone.
#include "codec/encoder_pool.h"

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "codec/software_encoder.h"

namespace godwit::encoder_pool_test {
namespace {

using namespace std::chrono_literals;

constexpr CodecChoice kChoice{CodecId::kLz4, 1};

/// What the encoders of one provider have in common: a gate, and who waits at it.
struct Gate {
  std::mutex mutex;
  std::condition_variable changed;
  bool open = true;
  bool fails = false;
  unsigned inside = 0;
  unsigned most_inside = 0;
  std::set<std::thread::id> threads;

  void pass() {
    std::unique_lock lock(mutex);
    most_inside = std::max(most_inside, ++inside);
    threads.insert(std::this_thread::get_id());
    changed.notify_all();
    changed.wait(lock, [this] { return open; });
    --inside;
  }
  void let_pass() {
    const std::lock_guard lock(mutex);
    open = true;
    changed.notify_all();
  }
  bool await_inside(unsigned count) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, 20s, [&] { return inside >= count; });
  }
};

/// Writes the input's first byte, once the gate lets it.
class GatedEncoder final : public SoftwareEncoder {
 public:
  explicit GatedEncoder(Gate& gate) : gate_(gate) {}
  CodecId id() const noexcept override { return kChoice.id; }

 private:
  Result<std::size_t> encode(Bytes input, MutableBytes output) override {
    gate_.pass();
    if (gate_.fails) return fail(ErrorKind::kIo, "cannot");
    output[0] = input[0];
    return std::size_t{1};
  }
  Gate& gate_;
};

class GatedEncoders final : public EncoderProvider {
 public:
  Result<std::unique_ptr<Encoder>> lend(const CodecChoice& choice, unsigned) override {
    if (choice.id == CodecId::kRaw) return std::unique_ptr<Encoder>();
    return std::make_unique<GatedEncoder>(gate);
  }
  Gate gate;
};

struct Block {
  std::array<std::byte, 64> in{};
  std::array<std::byte, 64> out{};
};

class EncoderPoolTest : public ::testing::Test {
 protected:
  EncodeJob job(std::uint64_t ticket) {
    blocks_[ticket].in[0] = static_cast<std::byte>(ticket + 1);
    return {ticket, blocks_[ticket].in, blocks_[ticket].out};
  }
  std::unique_ptr<Encoder> lend(EncoderPool& pool) {
    auto lent = pool.lend(kChoice, 0);
    EXPECT_TRUE(lent);
    return std::move(*lent);
  }
  static bool submit(Encoder& encoder, const EncodeJob& job) {
    const auto taken = encoder.submit({&job, 1});
    EXPECT_TRUE(taken) << taken.error().message;
    return taken && *taken == 1;
  }
  /// All answers to `count` jobs.
  static std::vector<EncodeDone> answers(Encoder& encoder, std::size_t count) {
    std::vector<EncodeDone> all;
    std::array<EncodeDone, 3> some;
    while (all.size() < count) {
      const auto heard = encoder.collect(some, {});
      if (!heard || *heard == 0) break;
      all.insert(all.end(), some.begin(), some.begin() + static_cast<std::ptrdiff_t>(*heard));
    }
    EXPECT_EQ(all.size(), count);
    return all;
  }

  GatedEncoders encoders_;
  std::array<Block, 64> blocks_;
};

TEST_F(EncoderPoolTest, ThreadsOfThePoolWorkWhileTheLaneGoesOn) {
  encoders_.gate.open = false;
  EncoderPool pool(encoders_, 4);
  pool.allow(3);
  const auto encoder = lend(pool);
  for (std::uint64_t ticket = 0; ticket < 3; ++ticket) ASSERT_TRUE(submit(*encoder, job(ticket)));
  ASSERT_TRUE(encoders_.gate.await_inside(3)) << "three at work, and this thread is here";
  std::array<EncodeDone, 4> done;
  EXPECT_EQ(encoder->poll(done).value(), 0U);
  EXPECT_EQ(pool.use().at_work, 3U);
  encoders_.gate.let_pass();
  std::set<std::uint64_t> tickets;
  for (const auto& each : answers(*encoder, 3)) {
    EXPECT_FALSE(each.failed);
    EXPECT_EQ(each.size, 1U);
    EXPECT_EQ(blocks_[each.ticket].out[0], static_cast<std::byte>(each.ticket + 1));
    tickets.insert(each.ticket);
  }
  EXPECT_EQ(tickets, (std::set<std::uint64_t>{0, 1, 2}));
  EXPECT_EQ(encoders_.gate.threads.count(std::this_thread::get_id()), 0U);
  EXPECT_EQ(pool.use().blocks, 3U);
  EXPECT_EQ(pool.use().most_at_work, 3U);
}

TEST_F(EncoderPoolTest, TheLaneEncodesWhatNoThreadIsFreeFor) {
  EncoderPool pool(encoders_, 2);
  const auto encoder = lend(pool);
  ASSERT_TRUE(submit(*encoder, job(0)));
  EXPECT_EQ(encoders_.gate.threads, std::set{std::this_thread::get_id()}) << "none is allowed yet";
  EXPECT_EQ(answers(*encoder, 1).front().ticket, 0U);
  EXPECT_EQ(pool.use().blocks, 0U);

  // Both threads are held up in the gate: the third block must not wait for them.
  encoders_.gate.open = false;
  pool.allow(9);
  EXPECT_EQ(pool.use().allowed, 2U) << "the most that there may be";
  ASSERT_TRUE(submit(*encoder, job(1)));
  ASSERT_TRUE(submit(*encoder, job(2)));
  ASSERT_TRUE(encoders_.gate.await_inside(2));
  std::jthread later([this] {
    EXPECT_TRUE(encoders_.gate.await_inside(3)) << "the lane itself";
    encoders_.gate.let_pass();
  });
  ASSERT_TRUE(submit(*encoder, job(3)));
  later.join();
  EXPECT_EQ(answers(*encoder, 3).size(), 3U);
}

TEST_F(EncoderPoolTest, ThreadsThatAreNotAllowedAnyMoreTakeNothing) {
  EncoderPool pool(encoders_, 2);
  const auto encoder = lend(pool);
  pool.allow(2);
  ASSERT_TRUE(submit(*encoder, job(0)));
  answers(*encoder, 1);
  pool.allow(0);
  const auto before = pool.use().blocks;
  ASSERT_TRUE(submit(*encoder, job(1)));
  answers(*encoder, 1);
  EXPECT_EQ(pool.use().blocks, before);
}

TEST_F(EncoderPoolTest, AnEncoderThatGoesWaitsForWhatIsBegunAndTakesBackTheRest) {
  EncoderPool pool(encoders_, 2);
  pool.allow(2);
  for (int again = 0; again < 200; ++again) {
    const auto encoder = lend(pool);
    for (std::uint64_t ticket = 0; ticket < 4; ++ticket) ASSERT_TRUE(submit(*encoder, job(ticket)));
  }
  // From here on nobody may touch a block: address and thread sanitizers see it, and so does this.
  EXPECT_EQ(pool.use().at_work, 0U);
}

TEST_F(EncoderPoolTest, TakesNoMoreThanItsDepth) {
  encoders_.gate.open = false;
  EncoderPool pool(encoders_, EncoderPool::kDepth);
  pool.allow(EncoderPool::kDepth);
  const auto encoder = lend(pool);
  for (std::uint64_t ticket = 0; ticket < EncoderPool::kDepth; ++ticket) ASSERT_TRUE(submit(*encoder, job(ticket)));
  EXPECT_FALSE(submit(*encoder, job(EncoderPool::kDepth)));
  encoders_.gate.let_pass();
  answers(*encoder, EncoderPool::kDepth);
  EXPECT_TRUE(submit(*encoder, job(EncoderPool::kDepth)));
}

TEST_F(EncoderPoolTest, WhatAThreadCannotEncodeIsAnsweredAsFailed) {
  encoders_.gate.fails = true;
  EncoderPool pool(encoders_, 1);
  pool.allow(1);
  const auto encoder = lend(pool);
  ASSERT_TRUE(submit(*encoder, job(5)));
  const auto answer = answers(*encoder, 1).front();
  EXPECT_EQ(answer.ticket, 5U);
  EXPECT_TRUE(answer.failed);
}

TEST_F(EncoderPoolTest, WaitingEndsWhenItIsToStop) {
  encoders_.gate.open = false;
  EncoderPool pool(encoders_, 1);
  pool.allow(1);
  const auto encoder = lend(pool);
  ASSERT_TRUE(submit(*encoder, job(0)));
  ASSERT_TRUE(encoders_.gate.await_inside(1)) << "else whoever waits encodes it";
  std::stop_source stop;
  std::jthread later([&] { stop.request_stop(); });
  std::array<EncodeDone, 1> done;
  EXPECT_EQ(encoder->collect(done, stop.get_token()).value(), 0U);
  encoders_.gate.let_pass();
}

TEST_F(EncoderPoolTest, LendsAsItIsWhatNeedsNoPool) {
  EncoderPool none(encoders_, 0);
  EXPECT_EQ(lend(none)->depth(), 1U);
  EncoderPool pool(encoders_, 1);
  EXPECT_EQ(pool.lend({CodecId::kRaw, 1}, 0).value(), nullptr);
  EXPECT_EQ(lend(pool)->depth(), EncoderPool::kDepth);
  EXPECT_EQ(lend(pool)->id(), kChoice.id);
}

TEST_F(EncoderPoolTest, WhoeverWaitsEncodesWhatNoThreadHasBegun) {
  std::mutex cpu;  // that the thread needs, and does not get
  std::unique_lock taken(cpu);
  EncoderPool pool(encoders_, 1, [&] { const std::lock_guard lock(cpu); });
  pool.allow(1);
  {
    const auto encoder = lend(pool);
    ASSERT_TRUE(submit(*encoder, job(0)));
    EXPECT_EQ(pool.use().at_work, 1U);
    const auto answer = answers(*encoder, 1).front();
    EXPECT_EQ(answer.size, 1U);
    EXPECT_EQ(encoders_.gate.threads, std::set{std::this_thread::get_id()});
    EXPECT_EQ(pool.use().at_work, 0U);
  }
  taken.unlock();
}

TEST_F(EncoderPoolTest, StartsNoThreadOnceItIsNotTo) {
  EncoderPool pool(encoders_, 4);
  pool.allow(1);
  pool.start_no_more();
  pool.allow(4);
  EXPECT_EQ(pool.use().allowed, 1U);
}

TEST_F(EncoderPoolTest, EachThreadCallsWhatItIsToCallFirst) {
  std::atomic<unsigned> began{0};
  {
    EncoderPool pool(encoders_, 3, [&] { ++began; });
    pool.allow(2);
    pool.allow(1);
    pool.allow(2);
  }
  EXPECT_EQ(began, 2U);
}

}  // namespace
}  // namespace godwit::encoder_pool_test
