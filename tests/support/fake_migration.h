// One migration of a fake VM over real sockets, for tests that each look at one behaviour.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <string>

#include "engine/sink.h"
#include "engine/source.h"
#include "host/host_profile.h"
#include "tests/support/fake_vm.h"
#include "tests/support/hash_key.h"

namespace godwit::testing {

inline RamLayout small_ram() {
  return RamLayout::make({{.name = "ram0", .size = 8 * kChunkSize}}).value();
}

class FakeMigration : public ::testing::Test {
 protected:
  explicit FakeMigration(const RamLayout& ram = small_ram()) : source_(ram, 20), sink_(ram) {}
  void SetUp() override {
    std::string name = std::filesystem::temp_directory_path() / "godwit-fake-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    auto listener = listen_on(parse_address("tcp://127.0.0.1:0").value());
    ASSERT_TRUE(listener) << listener.error().message;
    listener_ = std::move(*listener);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  SinkParts sink_parts(FakeSinkVm& sink) {
    sink_journal_.reset();
    sink_journal_.emplace(Journal::open(folder_ + "/sink", process_).value());
    return {.listener = *listener_,
            .journal = *sink_journal_,
            .fingerprint = sink.fingerprint(),
            .open_vm = [&sink](const Fingerprint&, DeviceWay) -> Result<SinkVm*> { return &sink; },
            .clock = steady_,
            .kernels = best_kernels({}),
            .decoders = *decoders_,
            .patience = std::chrono::seconds(20),
            .on_milestone = [](Milestone) {},
            .program = "test",
            .heartbeat = heartbeat_};
  }
  SourceParts source_parts(FakeSourceVm& source, DirtyTracker& tracker, Journal& journal, const Clock& clock) {
    return {.vm = source,
            .tracker = tracker,
            .journal = journal,
            .clock = clock,
            .kernels = best_kernels({}),
            .encoders = *encoders_,
            .hash_key = kHashKey,
            .connect = connect_,
            .goals = goals_,
            .quiesce_harvests = quiesce_,
            .on_progress = on_progress_,
            .on_milestone = [](Milestone) {},
            .program = "test",
            .heartbeat = heartbeat_};
  }
  Journal begun_journal() {
    auto journal = Journal::open(folder_, process_).value();
    EXPECT_TRUE(journal.begin());
    return journal;
  }

  SinkReport receive(OnMilestone on_milestone = [](Milestone) {}) {
    auto parts = sink_parts(sink_);
    parts.on_milestone = std::move(on_milestone);
    return run_sink(std::move(parts));
  }
  Report send(
      const Clock& clock, OnMilestone on_milestone = [](Milestone) {}) {
    auto journal = begun_journal();
    auto parts = source_parts(source_, source_, journal, clock);
    parts.on_milestone = std::move(on_milestone);
    return run_source(std::move(parts));
  }
  void expect_source_runs_alone(const Report& report) {
    EXPECT_EQ(report.outcome, Outcome::kSourceRuns);
    EXPECT_TRUE(report.error.has_value());
    EXPECT_TRUE(source_.runs());
    EXPECT_FALSE(sink_.runs());
    EXPECT_EQ(Journal::peek(folder_, {1, 1}).value(), Journal::State::kNone);
  }
  /// The journal's record as it lies in its file now, with its lock held by send().
  std::string journal_record() const {
    std::string word;
    std::ifstream file(journal_path(folder_, {1, 1}).value());
    for (int i = 0; i < 4; ++i) file >> word;
    return word;
  }

  std::string folder_;
  VmProcess process_{1, 1};  ///< of both VMs, for the journals: one that is gone, unless a test opens them again
  SteadyClock steady_;
  SoftwareEncoders software_;
  EncoderProvider* encoders_ = &software_;
  NoLateDecoders no_late_;
  DecoderProvider* decoders_ = &no_late_;
  Goals goals_{.max_downtime = std::chrono::milliseconds(500), .timeout = std::chrono::seconds(60)};
  bool quiesce_ = false;
  Duration heartbeat_ = kHeartbeatEvery;
  OnProgress on_progress_;
  FakeSourceVm source_;
  FakeSinkVm sink_;
  std::optional<Journal> sink_journal_;
  std::unique_ptr<Listener> listener_;
  std::function<Result<std::unique_ptr<Channel>>()> connect_ = [this] { return connect_to(listener_->address()); };
};

}  // namespace godwit::testing
