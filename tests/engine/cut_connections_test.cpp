// Whole migrations in which one connection is cut, fails, hangs or swallows what is sent, at every message and frame of
// the protocol and inside each: exactly one VM runs in the end, or none does and the source says that it is in doubt.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <future>
#include <mutex>
#include <thread>

#include "tests/support/breaking_net.h"
#include "tests/support/fake_migration.h"

namespace godwit {
namespace {

using namespace std::chrono_literals;
using testing::Break;
using testing::BreakingNet;
using testing::FakeSinkVm;
using testing::FakeSourceVm;
using testing::Unit;

const VmProcess kVm{1, 1};
constexpr std::string_view kCommit = "message 0x07";

RamLayout few_chunks() {
  return RamLayout::make({{.name = "ram0", .size = 4 * kChunkSize}}).value();
}

/// Real time, and some more when nothing happens any more.
class HurriedClock final : public Clock {
 public:
  Instant now() const noexcept override { return SteadyClock().now() + Duration(ahead_.load()); }
  void hurry(Duration by) noexcept { ahead_ += by.count(); }

 private:
  std::atomic<Duration::rep> ahead_{0};
};

/// How a migration over one net ended.
struct Ending {
  Report source;
  SinkReport sink;
  bool source_runs = false;
  bool sink_runs = false;
  bool commit_decided = false;
  bool same_memory = false;
  Journal::State journal = Journal::State::kNone;

  bool in_doubt() const { return source.outcome == Outcome::kInDoubt; }
  /// What must never be; empty: nothing is wrong.
  std::string wrong() const {
    const bool on_record = journal == Journal::State::kCommitted;
    if (source_runs && sink_runs) return "two VMs run";
    if (!source_runs && !sink_runs && !in_doubt()) return "no VM runs, and nobody is in doubt";
    if (source_runs != (source.outcome == Outcome::kSourceRuns)) return "the source's report is wrong about its guest";
    if (source.outcome == Outcome::kDone && !sink_runs) return "done, but the guest does not run at the sink";
    if (in_doubt() && !commit_decided) return "in doubt before a commit can have left";
    if (source_runs == on_record) return "the journal contradicts the report";
    if (sink_runs != (sink.outcome == Outcome::kDone)) return "the sink's report is wrong about its guest";
    if (!sink_runs && sink.outcome != Outcome::kSourceRuns) return "the sink has read a commit and does not run";
    if (sink_runs && !same_memory) return "the guest has not arrived whole";
    if ((source.outcome == Outcome::kDone) == source.error.has_value()) return "an error without a failure, or none";
    return "";
  }
};

class CutConnections : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = std::filesystem::temp_directory_path() / "godwit-cut-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  /// Moves a VM of its own, which does not write; from many threads.
  Ending move(BreakingNet& net, unsigned lanes) {
    const std::string folder = folder_ + "/" + std::to_string(moves_++);
    FakeSourceVm source(few_chunks(), 0);
    FakeSinkVm sink(few_chunks());
    source.with_memory([](auto& memory) {
      for (std::size_t at = 0; at < memory.bytes().size(); at += 8) {
        const std::uint64_t word = at * 0x9e3779b97f4a7c15;
        std::memcpy(memory.at(ChunkIndex{0}, 0) + at, &word, sizeof word);
      }
    });
    HurriedClock clock;
    Ending ending;
    std::stop_source stop, sink_stop;
    auto received = std::async(std::launch::async, [&] {
      auto journal = Journal::open(folder + "/sink", kVm).value();
      NoLateDecoders decoders;
      return run_sink({.listener = net.listener(),
                       .journal = journal,
                       .fingerprint = sink.fingerprint(),
                       .open_vm = [&](const Fingerprint&, DeviceWay) -> Result<SinkVm*> { return &sink; },
                       .clock = clock,
                       .kernels = best_kernels({}),
                       .decoders = decoders,
                       .on_milestone = [](Milestone) {},
                       .cancelled = sink_stop.get_token(),
                       .program = "test"});
    });
    auto sent = std::async(std::launch::async, [&] {
      auto journal = Journal::open(folder, kVm).value();
      EXPECT_TRUE(journal.begin());
      SoftwareEncoders encoders;
      return run_source(
          {.vm = source,
           .tracker = source,
           .journal = journal,
           .clock = clock,
           .kernels = best_kernels({}),
           .encoders = encoders,
           .hash_key = testing::kHashKey,
           .connect = [&] { return net.connect(); },
           .goals = {.lanes = lanes, .codec = CodecChoice{CodecId::kRaw, 0}, .max_downtime = 500ms, .timeout = 60s},
           .on_milestone =
               [&](Milestone milestone) {
                 if (milestone == Milestone::kCommitted) ending.commit_decided = true;
               },
           .cancelled = stop.get_token(),
           .program = "test"});
    });
    // A broken connection may be noticed only by clocks; and then nobody waits for anything else.
    for (auto waited = 0ms; sent.wait_for(10ms) != std::future_status::ready;) {
      if (net.struck() && (waited += 10ms) >= 300ms) clock.hurry(200s), waited = 0ms;
    }
    ending.source = sent.get();
    sink_stop.request_stop();  // it may wait for another source
    ending.sink = received.get();
    ending.source_runs = source.runs();
    ending.sink_runs = sink.runs();
    ending.journal = Journal::peek(folder, kVm).value();
    source.with_memory([&](auto& memory) { ending.same_memory = memory.bytes() == sink.plain().bytes(); });
    return ending;
  }

  /// Everything that a migration sends on its control connection, or on its lanes, which are all alike.
  std::vector<Unit> units_of(unsigned lanes, bool of_lanes) {
    BreakingNet net;
    const auto ending = move(net, lanes);
    EXPECT_EQ(ending.source.outcome, Outcome::kDone) << ending.source.error.value_or(Error{}).message;
    EXPECT_EQ(ending.wrong(), "");
    auto units = net.units();
    std::erase_if(units, [&](const Unit& unit) { return unit.connection != (of_lanes ? 1U : 0U); });
    return units;
  }
  /// At the beginning of each unit, after a byte, half-way and before its last byte; and right after it.
  static std::vector<Break> breaks_at(const std::vector<Unit>& units) {
    std::vector<Break> breaks;
    for (const Unit& unit : units) {
      for (const auto kind : {Break::Kind::kCut, Break::Kind::kFail, Break::Kind::kHang, Break::Kind::kSwallow}) {
        for (const std::size_t passes : {std::size_t{0}, std::size_t{1}, unit.size / 2, unit.size - 1, unit.size}) {
          breaks.push_back({.kind = kind, .unit = unit, .passes = passes});
        }
      }
    }
    return breaks;
  }
  /// How often a fence is asked for, and whether a second heartbeat is sent, depends on how fast this machine is.
  static bool always_sent(const Unit& unit) { return unit.occurrence == 0 || unit.what == "message 0x04"; }

  struct Counts {
    unsigned source_runs = 0;
    unsigned done = 0;
    unsigned in_doubt_and_runs = 0;     ///< at the sink
    unsigned in_doubt_and_stopped = 0;  ///< on both sides
  };
  /// One migration for each break, several at a time, because they mostly wait.
  Counts move_with_each(const std::vector<Break>& breaks, unsigned lanes) {
    Counts counts;
    std::mutex mutex;
    std::atomic<std::size_t> next{0};
    std::vector<std::jthread> workers;
    for (int i = 0; i < 8; ++i) {
      workers.emplace_back([&] {
        for (std::size_t at = next++; at < breaks.size(); at = next++) {
          BreakingNet net(breaks[at]);
          const Ending ending = move(net, lanes);
          const std::lock_guard lock(mutex);
          const Unit& unit = breaks[at].unit;
          SCOPED_TRACE(fmt::format("{} at byte {} of {}'s {} number {}, connection {}", name_of(breaks[at].kind),
                                   breaks[at].passes, unit.by_source ? "the source" : "the sink", unit.what,
                                   unit.occurrence, unit.connection));
          EXPECT_EQ(ending.wrong(), "") << ending.source.error.value_or(Error{}).message;
          EXPECT_TRUE(net.struck() || !always_sent(unit)) << "nothing broke";
          counts.source_runs += ending.source_runs;
          counts.done += ending.source.outcome == Outcome::kDone;
          counts.in_doubt_and_runs += ending.in_doubt() && ending.sink_runs;
          counts.in_doubt_and_stopped += ending.in_doubt() && !ending.sink_runs;
        }
      });
    }
    workers.clear();
    return counts;
  }

  std::string folder_;
  std::atomic<unsigned> moves_{0};
};

TEST_F(CutConnections, OneVmRunsWhereverTheControlConnectionBreaks) {
  const auto units = units_of(1, false);
  EXPECT_TRUE(std::ranges::any_of(units, [](const Unit& unit) { return unit.what == kCommit; }));
  EXPECT_TRUE(std::ranges::any_of(units, [](const Unit& unit) { return !unit.by_source; }));
  const auto counts = move_with_each(breaks_at(units), 1);
  // Each way to end has been taken; else the breaks were not where they should be.
  EXPECT_GT(counts.source_runs, 100U);
  EXPECT_GT(counts.done, 0U);
  EXPECT_GT(counts.in_doubt_and_runs, 5U) << "Done was on its way";
  EXPECT_GT(counts.in_doubt_and_stopped, 5U) << "Commit was on its way";
}

TEST_F(CutConnections, OneVmRunsWhereverALaneBreaks) {
  for (const unsigned lanes : {1U, 3U}) {
    SCOPED_TRACE(lanes);
    const auto units = units_of(lanes, true);
    EXPECT_GE(units.size(), 3U) << "a greeting, a frame and a fence";
    const auto counts = move_with_each(breaks_at(units), lanes);
    EXPECT_GT(counts.source_runs, 10U);
    EXPECT_EQ(counts.in_doubt_and_stopped + counts.in_doubt_and_runs, 0U) << "lanes carry nothing that a commit needs";
  }
}

}  // namespace
}  // namespace godwit
