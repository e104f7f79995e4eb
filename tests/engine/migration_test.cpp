// Whole migrations of a fake VM over real sockets: what arrives is what was there, and exactly one VM runs at the end.
#include <gtest/gtest.h>

#include <condition_variable>
#include <future>
#include <mutex>

#include "tests/support/fake_migration.h"
#include "wire/control.h"

namespace godwit::migration_test {
namespace {

using namespace std::chrono_literals;
using testing::FakeSinkVm;
using testing::FakeSourceVm;

RamLayout two_blocks() {
  // The first block ends in a chunk that is partly valid.
  return RamLayout::make(
             {{.name = "ram0", .size = 3 * kChunkSize + 5 * kPageSize}, {.name = "ram1", .size = 16 * kChunkSize}})
      .value();
}

class Migration : public testing::FakeMigration {
 protected:
  Migration() : FakeMigration(two_blocks()) {}

  SinkReport receive(OnMilestone on_milestone = [](Milestone) {}) {
    auto parts = sink_parts(sink_);
    parts.on_milestone = std::move(on_milestone);
    parts.on_note = [&](std::string_view note) { notes_ += note; };
    parts.cancelled = sink_cancel_.get_token();
    parts.start_patience = start_patience_;
    return run_sink(std::move(parts));
  }
  Report send(OnMilestone on_milestone = [](Milestone) {}) {
    auto journal = begun_journal();
    auto parts = source_parts(source_, source_, journal, steady_);
    parts.free_pages = &source_;
    parts.holes_may_appear = true;
    parts.on_milestone = std::move(on_milestone);
    parts.cancelled = cancel_.get_token();
    return run_source(std::move(parts));
  }

  static void expect_told_by_the_sink(const Report& report, ErrorKind kind) {
    EXPECT_EQ(report.error->kind, kind) << report.error->message;
    EXPECT_TRUE(report.error->at_peer);
    EXPECT_NE(report.error->message.find("the destination gave up: "), std::string::npos) << report.error->message;
  }

  std::stop_source cancel_, sink_cancel_;
  Duration start_patience_ = 20s;
  std::string notes_;
};

TEST_F(Migration, MovesEveryByteOfAWritingGuest) {
  for (const CodecInfo& codec : codecs()) {
    SCOPED_TRACE(codec.name);
    goals_.codec = CodecChoice{.id = codec.id};
    FakeSourceVm source(two_blocks(), 20);
    FakeSinkVm sink(two_blocks());
    // Stale bytes at the sink, where the source has zeros and where it has data, must not survive.
    std::fill_n(sink.plain().at(ChunkIndex{1}, 0), 3 * kPageSize, std::byte{0xee});
    auto journal = Journal::open(folder_, {1, 1}).value();
    auto sink_report = std::async(std::launch::async, [&] { return run_sink(sink_parts(sink)); });
    const auto report = run_source(source_parts(source, source, journal, steady_));
    ASSERT_EQ(report.outcome, Outcome::kDone) << (report.error ? report.error->message : "");
    EXPECT_EQ(sink_report.get().outcome, Outcome::kDone);
    EXPECT_FALSE(source.runs());
    EXPECT_TRUE(sink.runs());
    EXPECT_TRUE(sink.announced);
    EXPECT_GT(sink.warmed, 0U);
    EXPECT_EQ(sink.loaded, "setupdevices");
    EXPECT_EQ(source.finished, 1U);
    source.with_memory([&](auto& memory) { EXPECT_TRUE(memory.bytes() == sink.plain().bytes()); });
    EXPECT_GT(report.harvests, 0U);
    EXPECT_GT(report.pages_data, 0U);
    EXPECT_GT(report.pause.count(), 0);
    journal.clear();
  }
}

/// 288 vCPUs, 300 RAM blocks, each a chunk that is cut.
TEST_F(Migration, MovesAGuestOfManyCpusAndRamBlocks) {
  std::vector<RamBlock> blocks;
  for (int i = 0; i < 300; ++i) {
    blocks.push_back({.name = "dimm" + std::to_string(i), .size = 3 * kPageSize, .first_chunk = {}});
  }
  const RamLayout layout = RamLayout::make(std::move(blocks)).value();
  FakeSourceVm source(layout, 20);
  FakeSinkVm sink(layout);
  source.set_cpus(288);
  sink.set_cpus(288);
  goals_.lanes = 3;
  auto received = std::async(std::launch::async, [&] { return run_sink(sink_parts(sink)); });
  auto journal = begun_journal();
  auto parts = source_parts(source, source, journal, steady_);
  parts.holes_may_appear = true;
  const auto report = run_source(std::move(parts));
  EXPECT_EQ(report.outcome, Outcome::kDone) << report.error.value_or(Error{}).message;
  EXPECT_EQ(received.get().outcome, Outcome::kDone);
  source.with_memory([&](auto& memory) { EXPECT_TRUE(memory.bytes() == sink.plain().bytes()); });
}

/// At any moment before the commit; nothing that a peer says can be told from it afterwards.
TEST_F(Migration, AGuestThatEndsIsNotMovedNorLetRun) {
  for (const Milestone milestone :
       {Milestone::kCopying, Milestone::kStopped, Milestone::kFenced, Milestone::kPrepared}) {
    for (const auto kind : {Halt::Kind::kEnded, Halt::Kind::kPaused}) {
      SCOPED_TRACE(name_of(milestone));
      FakeSourceVm source(two_blocks(), 20);
      FakeSinkVm sink(two_blocks());
      auto received = std::async(std::launch::async, [&] { return run_sink(sink_parts(sink)); });
      auto journal = begun_journal();
      auto parts = source_parts(source, source, journal, steady_);
      parts.on_milestone = [&](Milestone reached) {
        if (reached == milestone) source.halt_by_others({kind, "the guest has shut down"});
      };
      const auto report = run_source(std::move(parts));
      const auto outcome = kind == Halt::Kind::kEnded ? Outcome::kGuestEnded : Outcome::kGuestPaused;
      EXPECT_EQ(report.outcome, outcome);
      EXPECT_EQ(report.error.value_or(Error{}).message, "the guest has shut down");
      EXPECT_FALSE(source.runs());
      EXPECT_FALSE(sink.runs());
      EXPECT_EQ(received.get().outcome, outcome);
      EXPECT_EQ(Journal::peek(folder_, {1, 1}).value(), Journal::State::kNone);
    }
  }
}

/// Its memory is gone before its monitor's connection is: who asks for it then hears so first, from the kernel.
TEST_F(Migration, AHypervisorWhoseMemoryIsGoneHasEnded) {
  FakeSourceVm source(two_blocks(), 20);
  FakeSinkVm sink(two_blocks());
  auto received = std::async(std::launch::async, [&] { return run_sink(sink_parts(sink)); });
  auto journal = begun_journal();
  auto parts = source_parts(source, source, journal, steady_);
  std::jthread monitor;
  parts.on_milestone = [&](Milestone reached) {
    if (reached != Milestone::kCopying) return;
    source.harvest_fails = Error{ErrorKind::kPeerLost, "no such process", ESRCH};
    monitor = std::jthread([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
      source.halt_by_others({Halt::Kind::kEnded, "QEMU has ended"});
    });
  };
  const auto report = run_source(std::move(parts));
  EXPECT_EQ(report.outcome, Outcome::kGuestEnded);
  EXPECT_EQ(report.error.value_or(Error{}).message, "QEMU has ended");
  EXPECT_EQ(received.get().outcome, Outcome::kGuestEnded);
  EXPECT_FALSE(sink.runs());
}

TEST_F(Migration, AGuestThatWasPausedArrivesPaused) {
  source_.start_paused();
  auto received = std::async(std::launch::async, [&] { return receive(); });
  std::string record;
  const auto report = send([&](Milestone milestone) {
    if (milestone == Milestone::kStopped) record = journal_record();
  });
  EXPECT_EQ(report.outcome, Outcome::kDone) << report.error.value_or(Error{}).message;
  EXPECT_TRUE(report.paused);
  EXPECT_EQ(record, "migrating") << "an engine that comes after would let it run";
  const auto there = received.get();
  EXPECT_EQ(there.outcome, Outcome::kDone);
  EXPECT_TRUE(there.paused);
  EXPECT_FALSE(source_.runs());
  EXPECT_FALSE(sink_.runs());
  EXPECT_TRUE(sink_.stayed_paused);
  EXPECT_FALSE(sink_.announced);
}

TEST_F(Migration, IsInPlaceBeforeTheSinkIsPrepared) {
  auto sink = std::async(std::launch::async, [&] {
    return receive([&](Milestone milestone) {
      // Devices touch guest RAM while they load: all of it must be there.
      if (milestone != Milestone::kLoaded) return;
      source_.with_memory([&](auto& memory) { EXPECT_TRUE(memory.bytes() == sink_.plain().bytes()); });
    });
  });
  EXPECT_EQ(send().outcome, Outcome::kDone);
  sink.get();
}

// Enough chunks for several looks at the free pages while the guest frees and takes pages.
RamLayout many_chunks() {
  return RamLayout::make({{.name = "ram0", .size = 500 * kChunkSize + 5 * kPageSize}}).value();
}

void fill_with_junk(testing::PlainMemory& memory) {
  for (std::uint32_t c = 0; c < memory.layout().chunk_count(); ++c) {
    for_each_page(memory.layout().valid_pages(ChunkIndex{c}), [&](unsigned page) {
      std::memset(memory.at(ChunkIndex{c}, page), static_cast<int>(c * 64 + page) % 100 + 1, kPageSize);
    });
  }
}

constexpr unsigned char kForeign = 0xee;

/// Pages that are in use at the source, with other bytes than at the sink.
std::uint64_t wrong_pages(FakeSourceVm& source, FakeSinkVm& sink) {
  std::uint64_t wrong = 0;
  source.with_memory([&](auto& memory) {
    for (std::uint32_t c = 0; c < memory.layout().chunk_count(); ++c) {
      for_each_page(memory.layout().valid_pages(ChunkIndex{c}), [&](unsigned page) {
        if (source.has_free(ChunkIndex{c}, page)) return;
        wrong += std::memcmp(memory.at(ChunkIndex{c}, page), sink.plain().at(ChunkIndex{c}, page), kPageSize) != 0;
      });
    }
  });
  return wrong;
}

class FreePagesMigration : public Migration, public ::testing::WithParamInterface<bool> {};

TEST_P(FreePagesMigration, LeavesFreePagesOutAndNothingElse) {
  FakeSourceVm source(many_chunks(), 400);
  source.with_memory(fill_with_junk);
  source.mistaken_finder = GetParam();
  source.frees_pages = true;
  source.run_ahead(50);
  FakeSinkVm sink(many_chunks());
  // Another VM's bytes: they must not be left where a page is left out.
  std::memset(sink.plain().at(ChunkIndex{0}, 0), kForeign, 500 * kChunkSize);
  auto journal = begun_journal();
  auto sink_report = std::async(std::launch::async, [&] { return run_sink(sink_parts(sink)); });
  goals_.max_downtime = 30s;  // this guest writes as fast as its CPU lets it
  goals_.codec = {CodecId::kZstd, 1};
  auto parts = source_parts(source, source, journal, steady_);
  parts.free_pages = &source;
  const auto report = run_source(std::move(parts));
  ASSERT_EQ(report.outcome, Outcome::kDone) << (report.error ? report.error->message : "");
  EXPECT_EQ(sink_report.get().outcome, Outcome::kDone);
  EXPECT_EQ(report.free_pages, "found");
  EXPECT_GT(report.pages_free, 0U);
  EXPECT_EQ(wrong_pages(source, sink), 0U);
  const std::vector<std::byte> foreign(kPageSize, std::byte{kForeign});
  const auto& arrived = sink.plain().bytes();
  for (std::size_t at = 0; at < arrived.size(); at += kPageSize) {
    ASSERT_NE(std::memcmp(arrived.data() + at, foreign.data(), kPageSize), 0) << "page " << at / kPageSize;
  }
}

/// A guest whose books are likely found, and what becomes of the search then.
class LikelyFreePages : public Migration {
 protected:
  LikelyFreePages() {
    source_vm_.with_memory(fill_with_junk);
    source_vm_.frees_pages = true;
    source_vm_.run_ahead(50);
    on_progress_ = [this](const Progress&) {
      const std::lock_guard lock(mutex_);
      if (source_vm_.looks != 0) ++looks_around_;
      looked_around_.notify_all();
    };
  }
  Report move() {
    auto journal = begun_journal();
    auto sink_report = std::async(std::launch::async, [&] { return run_sink(sink_parts(sink_vm_)); });
    auto parts = source_parts(source_vm_, source_vm_, journal, steady_);
    parts.free_pages = &source_vm_;
    parts.on_milestone = [this](Milestone milestone) {
      if (milestone == Milestone::kHandingOver) searching_at_handover_ = searching_.load();
    };
    auto report = run_source(std::move(parts));
    EXPECT_EQ(sink_report.get().outcome, Outcome::kDone);
    return report;
  }
  /// Searches until pages have been left out on the strength of what is only likely, and while the coordinator has
  /// looked around three times after that.
  Status search(const std::stop_token& stop, Status result) {
    {
      std::unique_lock lock(mutex_);
      const bool done = looked_around_.wait(lock, stop, [this] { return looks_around_ >= 3; });
      if (!done) return fail(ErrorKind::kCancelled, "asked to stop");
    }
    source_vm_.frees_pages = false;  // what is free from here on was free when it was looked at
    searching_ = false;
    return result;
  }

  FakeSourceVm source_vm_{many_chunks(), 400};
  FakeSinkVm sink_vm_{many_chunks()};
  std::atomic<bool> searching_{true}, searching_at_handover_{true};
  std::mutex mutex_;
  std::condition_variable_any looked_around_;
  unsigned looks_around_ = 0;  ///< of the coordinator, once there was something to leave out
};

TEST_F(LikelyFreePages, GoAfterAllIfTheSearchEndsInDoubt) {
  source_vm_.on_likely = [this](std::stop_token stop) {
    return search(stop, fail(ErrorKind::kUnsupported, "two kernels"));
  };
  const auto report = move();
  ASSERT_EQ(report.outcome, Outcome::kDone) << (report.error ? report.error->message : "");
  EXPECT_FALSE(searching_at_handover_);
  EXPECT_GT(source_vm_.found, 0U);
  EXPECT_EQ(report.free_pages, "two kernels");
  EXPECT_EQ(report.pages_free, 0U);
  source_vm_.with_memory([&](auto& memory) { EXPECT_TRUE(memory.bytes() == sink_vm_.plain().bytes()); });
}

TEST_F(LikelyFreePages, GoAfterAllIfALaterLookFailedToo) {
  source_vm_.looks_that_work = 1;
  source_vm_.on_likely = [this](std::stop_token stop) {
    return search(stop, fail(ErrorKind::kUnsupported, "two kernels"));
  };
  const auto report = move();
  ASSERT_EQ(report.outcome, Outcome::kDone) << (report.error ? report.error->message : "");
  EXPECT_GT(source_vm_.found, 0U);
  EXPECT_EQ(report.free_pages, "two kernels");
  source_vm_.with_memory([&](auto& memory) { EXPECT_TRUE(memory.bytes() == sink_vm_.plain().bytes()); });
}

TEST_F(LikelyFreePages, KeepTheHandoverWaitingUntilTheyAreCertain) {
  source_vm_.on_likely = [this](std::stop_token stop) { return search(stop, {}); };
  const auto report = move();
  ASSERT_EQ(report.outcome, Outcome::kDone) << (report.error ? report.error->message : "");
  EXPECT_FALSE(searching_at_handover_);
  EXPECT_EQ(report.free_pages, "found");
  EXPECT_GT(report.pages_free, 0U);
  EXPECT_EQ(wrong_pages(source_vm_, sink_vm_), 0U);
}

TEST_F(LikelyFreePages, KeepTheHandoverWaitingUntilEachHasBeenLookedInto) {
  source_vm_.look_into_takes = 100ms;
  source_vm_.on_likely = [this](std::stop_token stop) {
    auto status = search(stop, {});
    source_vm_.rests = true;  // so that nothing else keeps the hand-over waiting
    return status;
  };
  const auto report = move();
  ASSERT_EQ(report.outcome, Outcome::kDone) << (report.error ? report.error->message : "");
  EXPECT_GT(report.pages_free, 0U);
  EXPECT_EQ(wrong_pages(source_vm_, sink_vm_), 0U);
}

TEST_F(LikelyFreePages, DoNotKeepItWaitingThoughEveryLookFindsSomeThatMustTravel) {
  goals_.max_downtime = 30s;  // every round is good enough
  source_vm_.rests = true;
  source_vm_.on_call = [this](std::string_view what) {
    if (what == "harvest") source_vm_.free_many();
  };
  const auto report = move();
  ASSERT_EQ(report.outcome, Outcome::kDone) << (report.error ? report.error->message : "");
  EXPECT_EQ(wrong_pages(source_vm_, sink_vm_), 0U);
}

INSTANTIATE_TEST_SUITE_P(Finder, FreePagesMigration, ::testing::Values(false, true),
                         [](const auto& p) { return p.param ? "mistaken" : "right"; });

TEST_F(Migration, ASinkThatDoesNotFitIsRefusedBeforeAnythingMoves) {
  FakeSinkVm other(RamLayout::make({{.name = "ram0", .size = kChunkSize}}).value());
  std::stop_source stop;
  auto sink = std::async(std::launch::async, [&] {
    auto parts = sink_parts(other);
    parts.cancelled = stop.get_token();
    return run_sink(std::move(parts));
  });
  const auto report = send();
  stop.request_stop();  // it waits for another source
  expect_source_runs_alone(report);
  EXPECT_EQ(report.error->kind, ErrorKind::kRefused);
  EXPECT_NE(report.error->message.find("ram1"), std::string::npos) << report.error->message;
  EXPECT_EQ(report.bytes_lanes, 0U);
  EXPECT_EQ(sink.get().outcome, Outcome::kSourceRuns);
}

TEST_F(Migration, ASinkThatCannotLoadLeavesTheSourceRunning) {
  sink_.fail_load = true;
  auto sink = std::async(std::launch::async, [&] { return receive(); });
  const auto report = send();
  expect_source_runs_alone(report);
  EXPECT_NE(report.error->message.find("cannot load this"), std::string::npos) << report.error->message;
  expect_told_by_the_sink(report, ErrorKind::kHypervisor);
  sink.get();
  EXPECT_TRUE(sink_.gave_up);
}

TEST_F(Migration, ASinkWithoutMemoryLeavesTheSourceRunning) {
  sink_.plain().out_of_memory = true;
  auto sink = std::async(std::launch::async, [&] { return receive(); });
  const auto report = send();
  expect_source_runs_alone(report);
  EXPECT_NE(report.error->message.find("no memory"), std::string::npos) << report.error->message;
  expect_told_by_the_sink(report, ErrorKind::kIo);
  sink.get();
}

TEST_F(Migration, ASinkThatCannotResumeLeavesTheSourceInDoubtAndStanding) {
  sink_.fail_resume = true;
  auto sink = std::async(std::launch::async, [&] { return receive(); });
  const auto report = send();
  EXPECT_EQ(report.outcome, Outcome::kInDoubt);
  EXPECT_FALSE(source_.runs());
  EXPECT_EQ(source_.rolled_back, 0U);
  EXPECT_EQ(Journal::peek(folder_, {1, 1}).value(), Journal::State::kCommitted);
  EXPECT_EQ(sink.get().outcome, Outcome::kInDoubt);
}

TEST_F(Migration, ASinkWhoseHypervisorRefusesForAWhileRunsTheGuest) {
  sink_.refuse_resume = 5;
  auto sink = std::async(std::launch::async, [&] { return receive(); });
  EXPECT_EQ(send().outcome, Outcome::kDone);
  EXPECT_EQ(sink.get().outcome, Outcome::kDone);
  EXPECT_EQ(sink_.resumes, 6U);
  EXPECT_TRUE(sink_.runs());
  EXPECT_FALSE(source_.runs());
  EXPECT_NE(notes_.find("disk is locked"), std::string::npos) << notes_;
}

TEST_F(Migration, AGuestThatNeverRanAtTheSinkAndNeverWillRunsAtTheSource) {
  sink_.refuse_resume = ~0U;
  start_patience_ = 300ms;
  auto sink = std::async(std::launch::async, [&] { return receive(); });
  const auto report = send();
  expect_source_runs_alone(report);
  EXPECT_NE(report.error->message.find("disk is locked"), std::string::npos) << report.error->message;
  EXPECT_EQ(sink.get().outcome, Outcome::kSourceRuns);
  EXPECT_TRUE(sink_.ended);
  EXPECT_GT(sink_.resumes, 1U);
}

/// The destination's hypervisor ends between the last word before the commit and the commit.
TEST_F(Migration, ASinkWhoseHypervisorEndedBeforeItWasAskedToRunGivesTheGuestBack) {
  auto sink = std::async(std::launch::async, [&] {
    return receive([&](Milestone milestone) {
      if (milestone == Milestone::kCommitted) sink_.dead = true;
    });
  });
  const auto report = send();
  expect_source_runs_alone(report);
  EXPECT_EQ(sink.get().outcome, Outcome::kSourceRuns);
  EXPECT_EQ(sink_.resumes, 0U);
}

/// The source's hypervisor ends after the commit: what the sink holds is the only copy, and is not destroyed.
TEST_F(Migration, ASinkKeepsTheGuestIfTheSourceCannotTakeItBack) {
  sink_.refuse_resume = ~0U;
  start_patience_ = 300ms;
  auto sink = std::async(std::launch::async, [&] { return receive(); });
  const auto report = send([&](Milestone milestone) {
    if (milestone == Milestone::kCommitted) source_.hypervisor_gone = true;
  });
  EXPECT_EQ(report.outcome, Outcome::kInDoubt);
  EXPECT_EQ(sink.get().outcome, Outcome::kInDoubt);
  EXPECT_FALSE(sink_.ended) << "the only copy of the guest was destroyed";
  EXPECT_FALSE(source_.runs());
}

TEST_F(Migration, ASinkThatIsNotCertainLeavesTheSourceInDoubt) {
  sink_.refuse_resume = ~0U;
  sink_.cannot_end = true;
  start_patience_ = 100ms;
  auto sink = std::async(std::launch::async, [&] { return receive(); });
  EXPECT_EQ(send().outcome, Outcome::kInDoubt);
  EXPECT_EQ(sink.get().outcome, Outcome::kInDoubt);
  EXPECT_FALSE(source_.runs());
  EXPECT_EQ(Journal::peek(folder_, {1, 1}).value(), Journal::State::kCommitted);
}

TEST_F(Migration, CancelledAtEachMilestoneTheSourceRunsOn) {
  for (const Milestone at : {Milestone::kConnected, Milestone::kWelcomed, Milestone::kTracking, Milestone::kMapped,
                             Milestone::kCopying, Milestone::kHandingOver, Milestone::kStopped, Milestone::kFenced,
                             Milestone::kDevicesSent, Milestone::kPrepared}) {
    SCOPED_TRACE(name_of(at));
    cancel_ = {};
    sink_cancel_ = {};
    auto sink = std::async(std::launch::async, [&] { return receive(); });
    const auto report = send([&](Milestone milestone) {
      if (milestone == at) cancel_.request_stop();
    });
    expect_source_runs_alone(report);
    EXPECT_EQ(report.error->kind, ErrorKind::kCancelled);
    sink_cancel_.request_stop();  // it may wait for another source
    const auto sink_report = sink.get();
    EXPECT_EQ(sink_report.outcome, Outcome::kSourceRuns);
  }
}

/// Whatever it was that ended the first source: nothing has been changed at the sink.
TEST_F(Migration, ASourceThatIsLostBeforeItsDataMapLetsAnotherCome) {
  auto sink = std::async(std::launch::async, [&] { return receive(); });
  source_.fail_start = true;
  expect_source_runs_alone(send());
  EXPECT_FALSE(sink_.gave_up && sink.wait_for(0s) == std::future_status::ready);
  source_.fail_start = false;
  EXPECT_EQ(send([&](Milestone milestone) {
              if (milestone == Milestone::kWelcomed) cancel_.request_stop();
            }).outcome,
            Outcome::kSourceRuns);
  cancel_ = {};
  const auto report = send();
  EXPECT_EQ(report.outcome, Outcome::kDone) << (report.error ? report.error->message : "");
  EXPECT_EQ(sink.get().outcome, Outcome::kDone);
  EXPECT_NE(notes_.find("cannot track"), std::string::npos) << notes_;
  EXPECT_NE(notes_.find("cancelled by the operator"), std::string::npos) << notes_;
  EXPECT_NE(notes_.find("waiting for a source again"), std::string::npos) << notes_;
  source_.with_memory([&](auto& memory) { EXPECT_TRUE(memory.bytes() == sink_.plain().bytes()); });
}

TEST_F(Migration, ASourceThatIsLostAfterItsDataMapDoesNot) {
  auto sink = std::async(std::launch::async, [&] { return receive(); });
  (void)send([&](Milestone milestone) {
    if (milestone == Milestone::kMapped) cancel_.request_stop();
  });
  EXPECT_EQ(sink.get().outcome, Outcome::kSourceRuns);
}

TEST_F(Migration, LanesThatAreRefusedAreDoneWithout) {
  goals_.lanes = 5;
  std::atomic<int> connections{0};
  connect_ = [&]() -> Result<std::unique_ptr<Channel>> {
    const int number = connections++;
    if (number == 2 || number == 4) return fail(ErrorKind::kPeerLost, "the firewall says no");
    return connect_to(listener_->address());
  };
  auto sink = std::async(std::launch::async, [&] { return receive(); });
  auto journal = begun_journal();
  auto parts = source_parts(source_, source_, journal, steady_);
  std::string notes;
  parts.on_note = [&](std::string_view note) { notes += note; };
  const auto report = run_source(std::move(parts));
  ASSERT_EQ(report.outcome, Outcome::kDone) << (report.error ? report.error->message : "");
  EXPECT_EQ(sink.get().outcome, Outcome::kDone);
  EXPECT_EQ(report.lanes, 3U);
  EXPECT_NE(notes.find("3 of 5 lanes"), std::string::npos) << notes;
  EXPECT_NE(notes.find("the firewall says no"), std::string::npos) << notes;
  source_.with_memory([&](auto& memory) { EXPECT_TRUE(memory.bytes() == sink_.plain().bytes()); });
}

TEST_F(Migration, CancelledAfterTheCommitIsTooLate) {
  auto sink = std::async(std::launch::async, [&] { return receive(); });
  const auto report = send([&](Milestone milestone) {
    if (milestone == Milestone::kCommitted) cancel_.request_stop();
  });
  EXPECT_EQ(report.outcome, Outcome::kDone);
  EXPECT_TRUE(sink_.runs());
  EXPECT_FALSE(source_.runs());
  sink.get();
}

TEST_F(Migration, ASourceThatSomebodyLetRunAgainIsNotCommitted) {
  auto sink = std::async(std::launch::async, [&] { return receive(); });
  const auto report = send([&](Milestone milestone) {
    if (milestone == Milestone::kPrepared) source_.let_run_by_others = true;
  });
  expect_source_runs_alone(report);
  EXPECT_NE(report.error->message.find("somebody else"), std::string::npos) << report.error->message;
  EXPECT_EQ(sink.get().outcome, Outcome::kSourceRuns);
}

/// A sink that speaks the protocol, but not its rules.
TEST_F(Migration, ASinkThatClaimsToRunAnUncommittedGuestIsNotBelieved) {
  auto liar = std::async(std::launch::async, [&] {
    auto control = listener_->accept(10s).value();
    EXPECT_TRUE(wire::receive_greeting(*control));
    wire::ControlConnection connection(*control);
    EXPECT_TRUE(connection.receive());
    EXPECT_TRUE(connection.send(wire::Welcome{sink_.fingerprint(), "liar"}));
    EXPECT_TRUE(connection.send(wire::Done{}));
    while (connection.receive()) {
    }
  });
  const auto report = send();
  expect_source_runs_alone(report);
  EXPECT_EQ(report.error->kind, ErrorKind::kProtocol) << report.error->message;
  liar.get();
}

TEST_F(Migration, TheJournalTellsWhoStoppedTheGuest) {
  // What an engine that died at each milestone would leave: only one that was about to stop the guest may have.
  for (const auto& [at, state] : {std::pair<Milestone, Journal::State>{Milestone::kCopying, Journal::State::kMigrating},
                                  {Milestone::kHandingOver, Journal::State::kHandingOver},
                                  {Milestone::kPrepared, Journal::State::kHandingOver}}) {
    SCOPED_TRACE(name_of(at));
    cancel_ = {};
    auto sink = std::async(std::launch::async, [&] { return receive(); });
    std::string record;
    (void)send([&, at = at](Milestone milestone) {
      if (milestone != at) return;
      record = journal_record();
      cancel_.request_stop();
    });
    EXPECT_EQ(record, state == Journal::State::kHandingOver ? "handing-over" : "migrating");
    sink.get();
  }
}

TEST_F(Migration, APreparedSinkObeysTheSourceRatherThanItsOperator) {
  auto sink = std::async(std::launch::async, [&] {
    return receive([&](Milestone milestone) {
      if (milestone == Milestone::kPrepared) sink_cancel_.request_stop();
    });
  });
  EXPECT_EQ(send().outcome, Outcome::kDone);
  EXPECT_EQ(sink.get().outcome, Outcome::kDone);
  EXPECT_TRUE(sink_.runs());
  EXPECT_FALSE(source_.runs());
}

TEST_F(Migration, ASinkWhoseHypervisorEndsTellsTheSource) {
  goals_.max_downtime = 1ns;  // it would copy for ever
  auto sink = std::async(std::launch::async, [&] {
    return receive([&](Milestone milestone) {
      if (milestone == Milestone::kMapped) sink_.dead = true;
    });
  });
  const auto report = send();
  expect_source_runs_alone(report);
  EXPECT_NE(report.error->message.find("has ended"), std::string::npos) << report.error->message;
  expect_told_by_the_sink(report, ErrorKind::kHypervisor);
  sink.get();
}

/// Before Welcome and after it.
TEST_F(Migration, CancelledSinkTellsTheSource) {
  for (const Milestone at : {Milestone::kGreeted, Milestone::kMapped}) {
    SCOPED_TRACE(name_of(at));
    sink_cancel_ = {};
    auto sink = std::async(std::launch::async, [&] {
      return receive([&](Milestone milestone) {
        if (milestone == at) sink_cancel_.request_stop();
      });
    });
    const auto report = send();
    expect_source_runs_alone(report);
    EXPECT_NE(report.error->message.find("cancelled"), std::string::npos) << report.error->message;
    expect_told_by_the_sink(report, ErrorKind::kCancelled);
    EXPECT_EQ(sink.get().error->kind, ErrorKind::kCancelled);
  }
}

TEST_F(Migration, AGuestThatWritesTooFastEndsAtTheTimeout) {
  goals_.max_downtime = 1ns;
  goals_.timeout = 500ms;
  auto sink = std::async(std::launch::async, [&] { return receive(); });
  const auto report = send();
  expect_source_runs_alone(report);
  EXPECT_EQ(report.error->kind, ErrorKind::kTimedOut);
  sink.get();
}

TEST_F(Migration, StrangersAreTurnedAwayAndDisturbNothing) {
  auto sink = std::async(std::launch::async, [&] { return receive(); });
  auto stranger = connect_to(listener_->address()).value();
  ASSERT_TRUE(send_bytes(*stranger, bytes_of("GET / HTTP/1.1\r\nHost: a-name-that-is-long-enough.example\r\n\r\n")));
  auto false_lane = connect_to(listener_->address()).value();
  ASSERT_TRUE(wire::send_greeting(*false_lane, {.role = wire::Role::kLane}));
  EXPECT_EQ(send([&](Milestone milestone) {
              if (milestone != Milestone::kConnected) return;
              auto wrong_secret = connect_to(listener_->address()).value();
              EXPECT_TRUE(wire::send_greeting(*wrong_secret, {.role = wire::Role::kLane}));
            }).outcome,
            Outcome::kDone);
  sink.get();
  EXPECT_NE(notes_.find("not a Godwit peer"), std::string::npos) << notes_;
  EXPECT_NE(notes_.find("secret"), std::string::npos) << notes_;
}

}  // namespace
}  // namespace godwit::migration_test
