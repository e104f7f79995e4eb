// A page that the guest gives back while a lane reads it: the lane holds what the page was, the page is a hole. Whoever
// looks for pages given back right then must find it among those sent, or the destination keeps the old bytes.
#include <gtest/gtest.h>

#include <thread>

#include "engine/alarm.h"
#include "engine/fence.h"
#include "engine/given_back.h"
#include "engine/in_place_placer.h"
#include "engine/sink_lane.h"
#include "engine/source_lane.h"
#include "host/host_profile.h"
#include "tests/support/hash_key.h"
#include "tests/support/plain_memory.h"

namespace godwit::given_back_test {
namespace {

using testing::PlainMemory;

RamLayout one_chunk() {
  return RamLayout::make({{.name = "ram0", .size = kChunkSize}}).value();
}

class GivenBack : public ::testing::TestWithParam<CodecId> {
 protected:
  GivenBack() : memory_(one_chunk()), there_(one_chunk()), board_(1), sent_(1), left_out_(1), filled_(1) {
    auto pair = make_channel_pair();
    source_end_ = std::move(pair->first);
    sink_end_ = std::move(pair->second);
  }
  void post(PageWord pages) {
    board_.post(kChunk, pages);
    board_.announce();
  }
  /// With a hypervisor that holds none of the pages.
  void look_for_given_back() {
    ::godwit::GivenBack look(memory_, sent_, board_);
    PageWord suspects = 0;
    ASSERT_TRUE(look.ask(kChunk, {&suspects, 1}));
    ASSERT_TRUE(look.found(kChunk, {&suspects, 1}));
    board_.announce();
  }
  /// Runs both lanes until all that was posted, and the last fence after it, has been applied.
  void copy() {
    SoftwareEncoders encoders;
    LaneSetting setting{.memory = memory_,
                        .board = board_,
                        .sent = sent_,
                        .left_out = left_out_,
                        .kernels = best_kernels({}),
                        .clock = clock_,
                        .encoders = encoders,
                        .codec = CodecChoice{GetParam(), 1},
                        .deltas = {.key = testing::kHashKey, .memory = 1 << 20}};
    SourceLane lane(setting, 0, *source_end_);
    std::jthread sender([&](std::stop_token stop) { EXPECT_TRUE(lane.run(stop)); });
    setting.fence = kLastFence;
    board_.announce();
    InPlacePlacer placer(there_, filled_, best_kernels({}));
    NoLateDecoders decoders;
    SinkLaneSetting sink{&placer, best_kernels({}), decoders, {1}, [](unsigned, std::uint32_t) { return Status{}; }};
    const Alarm hangs(clock_, std::chrono::seconds(20), [this] { sink_end_->abort(); });
    const Status applied = SinkLane(sink, 0, *sink_end_).run();
    EXPECT_TRUE(applied) << applied.error().message;
    sender.request_stop();
    board_.announce();
  }

  static constexpr ChunkIndex kChunk{0};
  static constexpr unsigned kPage = 3;
  static constexpr PageWord kIt = PageWord{1} << kPage;
  PlainMemory memory_;
  PlainMemory there_;
  Board board_;
  SharedPageWords sent_;
  SharedPageWords left_out_;
  FilledPages filled_;
  SteadyClock clock_;
  std::unique_ptr<Channel> source_end_, sink_end_;
};

TEST_P(GivenBack, WhileALaneReadsItArrivesAsZeros) {
  std::memset(memory_.at(kChunk, kPage), 0x5a, kPageSize);
  std::memset(memory_.at(kChunk, kPage + 1), 0xa5, kPageSize);  // a neighbour that stays
  bool punched = false;
  memory_.after_read = [&](ChunkIndex, PageWord) {
    if (std::exchange(punched, true)) return;
    ASSERT_TRUE(memory_.discard(kChunk, kIt));
    look_for_given_back();
  };
  post(kIt | kIt << 1);
  copy();
  EXPECT_TRUE(punched);
  EXPECT_TRUE(there_.bytes() == memory_.bytes()) << "the destination holds what was given back";
  EXPECT_EQ(*there_.at(kChunk, kPage), std::byte{0});
  EXPECT_EQ(sent_.of(kChunk), kIt << 1) << "what was sent as zeros need not be looked for again";
}

INSTANTIATE_TEST_SUITE_P(By, GivenBack, ::testing::Values(CodecId::kRaw, CodecId::kLz4),
                         [](const auto& tested) { return tested.param == CodecId::kRaw ? "Raw" : "Lz4"; });

}  // namespace
}  // namespace godwit::given_back_test
