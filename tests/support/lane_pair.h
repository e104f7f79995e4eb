// Source lanes and sink lanes with connections between them, and memory of their own: what is posted arrives.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <mutex>
#include <optional>
#include <random>
#include <thread>
#include <vector>

#include "engine/fence.h"
#include "engine/first_error.h"
#include "engine/in_place_placer.h"
#include "engine/mailbox.h"
#include "engine/sink_lane.h"
#include "engine/source_lanes.h"
#include "host/host_profile.h"
#include "tests/support/guest_writes.h"
#include "tests/support/hash_key.h"
#include "tests/support/plain_memory.h"
#include "tests/support/whole_page_placer.h"

namespace godwit::testing {

/// How the lanes differ from what a migration has.
struct LanePairSetting {
  std::optional<CodecChoice> codec;
  std::size_t delta_memory = 0;  ///< of each lane
  unsigned lanes = 1;
  std::uint32_t in_a_row = 2;  ///< LaneShares'; eight would leave lanes of a small memory without any
  const Kernels& kernels = best_kernels({});
  EncoderProvider* encoders = nullptr;  ///< null: software
  DecoderProvider* decoders = nullptr;  ///< null: software
  std::function<void(std::string_view)> on_note = {};
  bool places_whole_pages = false;  ///< as at a guest that runs already
};

class LanePair {
 public:
  LanePair(const RamLayout& layout, const LanePairSetting& with)
      : note([this, say = with.on_note](std::string_view text) {
          const std::lock_guard lock(noting_);
          if (say) say(text);
        }),
        here(layout),
        there(layout),
        board(layout.chunk_count()),
        sent(layout.chunk_count()),
        left_out(layout.chunk_count()),
        filled(layout.chunk_count()),
        setting_{.memory = here,
                 .board = board,
                 .sent = sent,
                 .left_out = left_out,
                 .kernels = with.kernels,
                 .clock = clock_,
                 .encoders = with.encoders != nullptr ? *with.encoders : software_,
                 .shares = {with.lanes, with.in_a_row},
                 .codec = with.codec,
                 .deltas = {.key = kHashKey, .memory = with.delta_memory},
                 .on_note = note},
        in_place_(there, filled, with.kernels),
        whole_pages_(there, with.kernels),
        sink_setting_{.placer = with.places_whole_pages ? static_cast<PagePlacer*>(&whole_pages_) : &in_place_,
                      .kernels = with.kernels,
                      .decoders = with.decoders != nullptr ? *with.decoders : no_late_,
                      .shares = {with.lanes, with.in_a_row},
                      .on_fence =
                          [this](unsigned lane, std::uint32_t fence) {
                            reached_.change([&](std::vector<std::uint32_t>& f) { f[lane] = fence; });
                            return Status{};
                          },
                      .on_note = note},
        lanes_(setting_) {
    reached_.change([&](std::vector<std::uint32_t>& f) { f.resize(with.lanes); });
    for (unsigned i = 0; i < with.lanes; ++i) {
      auto pair = make_channel_pair();
      lanes_.add(std::move(pair->first));
      far_.push_back(std::move(pair->second));
    }
    lanes_.start([this](Error error) {
      error_.report(std::move(error));
      lanes_.abort();
    });
    for (unsigned i = 0; i < with.lanes; ++i) receivers_.emplace_back([this, i] { receive(i); });
  }
  ~LanePair() {
    fence(kLastFence);
    lanes_.stop();
    if (const auto error = error_.get()) ADD_FAILURE() << error->message;
  }

  void post(ChunkIndex chunk, PageWord pages) { board.post(chunk, pages); }
  /// Sweeps take chunks from all over from now on, also the one that is under way.
  void spread() { setting_.spread = true; }
  /// Until all that was posted has been applied, and counted.
  void copy() {
    fence(++last_);
    while (!lanes_.idle() && !error_.get()) std::this_thread::yield();
  }
  void fence(std::uint32_t number) {
    lanes_.fence(number);
    const auto passed = [&](const std::vector<std::uint32_t>& f) { return *std::ranges::min_element(f) >= number; };
    if (passed(reached_.await(passed, std::chrono::seconds(20)))) return;
    ADD_FAILURE() << "fence " << number << " has not been reached";
    for (const auto& channel : far_) channel->abort();
  }
  LaneTotals counters() const { return lanes_.totals(); }
  std::uint64_t bytes_sent() const { return lanes_.totals().bytes_wire; }
  std::vector<CodecUse> codecs() const { return lanes_.codecs(); }
  const WholePagePlacer& whole_pages() const { return whole_pages_; }

  const std::function<void(std::string_view)> note;  ///< both sides'
  PlainMemory here;
  PlainMemory there;
  Board board;
  SharedPageWords sent;
  SharedPageWords left_out;
  FilledPages filled;

 private:
  void receive(unsigned lane) {
    const Status run = SinkLane(sink_setting_, lane, *far_[lane]).run();
    EXPECT_TRUE(run) << run.error().message;
    if (!run) reached_.change([&](std::vector<std::uint32_t>& f) { f[lane] = kLastFence; });
  }

  std::mutex noting_;
  SteadyClock clock_;
  SoftwareEncoders software_;
  NoLateDecoders no_late_;
  LaneSetting setting_;
  InPlacePlacer in_place_;
  WholePagePlacer whole_pages_;
  SinkLaneSetting sink_setting_;
  Mailbox<std::vector<std::uint32_t>> reached_;
  FirstError error_;
  std::vector<std::unique_ptr<Channel>> far_;
  SourceLanes lanes_;
  std::uint32_t last_ = 0;
  std::vector<std::jthread> receivers_;
};

/// Up to `most` pages, which are posted.
inline void write_pages(LanePair& lanes, std::size_t most, std::mt19937_64& random) {
  const auto chunks = lanes.here.layout().chunk_count();
  for (auto writes = random() % most; writes > 0; --writes) {
    const ChunkIndex chunk{static_cast<std::uint32_t>(random() % chunks)};
    const auto page = static_cast<unsigned>(random() % kPagesPerChunk);
    write_somehow(lanes.here, chunk, page, random);
    lanes.post(chunk, page_bit(page));
  }
}

}  // namespace godwit::testing
