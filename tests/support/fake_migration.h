// One migration of a fake VM over real sockets, for tests that each look at one behaviour.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <memory>
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
  void SetUp() override {
    std::string name = std::filesystem::temp_directory_path() / "godwit-fake-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    auto listener = listen_on(parse_address("tcp://127.0.0.1:0").value());
    ASSERT_TRUE(listener) << listener.error().message;
    listener_ = std::move(*listener);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  SinkReport receive(OnMilestone on_milestone = [](std::string_view) {}) {
    return run_sink(SinkParts{.listener = *listener_,
                              .fingerprint = sink_.fingerprint(),
                              .open_vm = [&](const Fingerprint&) -> Result<SinkVm*> { return &sink_; },
                              .clock = steady_,
                              .kernels = best_kernels({}),
                              .patience = std::chrono::seconds(20),
                              .on_milestone = std::move(on_milestone),
                              .program = "test"});
  }
  Report send(
      const Clock& clock, OnMilestone on_milestone = [](std::string_view) {}) {
    auto journal = Journal::open(folder_, {1, 1}).value();
    EXPECT_TRUE(journal.begin());
    return run_source(SourceParts{.vm = source_,
                                  .tracker = source_,
                                  .journal = journal,
                                  .clock = clock,
                                  .kernels = best_kernels({}),
                                  .hash_key = kHashKey,
                                  .connect = connect_,
                                  .goals = goals_,
                                  .quiesce_harvests = quiesce_,
                                  .on_progress = on_progress_,
                                  .on_milestone = std::move(on_milestone),
                                  .program = "test"});
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
    std::ifstream file(folder_ + "/1-1.journal");
    for (int i = 0; i < 4; ++i) file >> word;
    return word;
  }

  std::string folder_;
  SteadyClock steady_;
  Goals goals_{.max_downtime = std::chrono::milliseconds(500), .timeout = std::chrono::seconds(60)};
  bool quiesce_ = false;
  OnProgress on_progress_;
  FakeSourceVm source_{small_ram(), 20};
  FakeSinkVm sink_{small_ram()};
  std::unique_ptr<Listener> listener_;
  std::function<Result<std::unique_ptr<Channel>>()> connect_ = [this] { return connect_to(listener_->address()); };
};

}  // namespace godwit::testing
