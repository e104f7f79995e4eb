// One address where many VMs come in, with fake VMs.
#include "service/receive_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <future>
#include <map>
#include <system_error>

#include "service/send_job.h"
#include "tests/support/fake_migration.h"
#include "tests/support/fake_opened.h"

namespace godwit::receive_service_test {
namespace {

using namespace std::chrono_literals;
using testing::able_host;
using testing::FakeOpenedSink;
using testing::FakeOpenedSource;
using testing::FakeSinkVm;
using testing::FakeSourceVm;
using ::testing::HasSubstr;
using testing::small_ram;

class Service : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = std::filesystem::temp_directory_path() / "godwit-service-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override {
    stop_.request_stop();
    if (served_.valid()) {
      EXPECT_TRUE(served_.get());
    }
    std::filesystem::remove_all(folder_);
  }
  Address address() const { return {.kind = Address::Kind::kUnix, .path = folder_ + "/socket"}; }

  void serve() {
    std::promise<void> listens;
    served_ = std::async(std::launch::async, [this, &listens] {
      ReceiveService service(
          {.open_for = [this](const std::string& name) { return open_for(name); },
           .listen = address(),
           .start_timeout = 60s,
           .at_once = 3,
           .program = "test"},
          {.on_listening = [&](const Address&) { listens.set_value(); },
           .on_note = [this](std::string_view text) { notes_.change([&](auto& all) { all.emplace_back(text); }); },
           .on_report = [this](const SinkReport& r) { reports_.change([&](auto& all) { all.push_back(r); }); }},
          [] { return Log(); }, HostProfile{}, clock_);
      return service.run(stop_.get_token());
    });
    listens.get_future().wait();
  }
  Result<WaitingPlace> open_for(const std::string& name) {
    const auto sink = sinks_.find(name);
    if (sink == sinks_.end()) return fail(ErrorKind::kNotFound, "no QEMU waits here for a VM called '" + name + "'");
    return WaitingPlace{
        name, OpenSink([this, name, vm = sink->second](const JobContext&) -> Result<std::unique_ptr<OpenedSink>> {
          auto journal = TRY(Journal::open(folder_ + "/sink-" + name, {1, 1}));
          TRY(journal.receiving());
          if (on_open_) on_open_();
          return std::make_unique<FakeOpenedSink>(*vm, std::move(journal));
        })};
  }
  std::unique_ptr<SendJob> send(FakeSourceVm& source, const std::string& name) {
    return std::make_unique<SendJob>(
        SendRequest{
            .open = [this, &source, name](const JobContext&, Outcome&) -> Result<std::unique_ptr<OpenedSource>> {
              return std::make_unique<FakeOpenedSource>(source,
                                                        TRY(Journal::open(folder_ + "/source-" + name, {1, 1})));
            },
            .to = address(),
            .goals = {.max_downtime = 500ms, .timeout = 60s},
            .program = "test"},
        SendHooks{}, Log(), able_host(), clock_);
  }
  std::vector<SinkReport> await_reports(std::size_t count) {
    return reports_.await([&](const auto& all) { return all.size() >= count; }, 60s);
  }

  const SteadyClock clock_{};
  std::string folder_;
  std::map<std::string, FakeSinkVm*> sinks_;
  std::function<void()> on_open_;  ///< on a job's thread; may throw
  Mailbox<std::vector<SinkReport>> reports_;
  Mailbox<std::vector<std::string>> notes_;
  std::stop_source stop_;
  std::future<Status> served_;
};

TEST_F(Service, TakesInOneVmAfterTheOther) {
  FakeSourceVm source(small_ram(), 20);
  const std::string name = source.fingerprint().vm_name;
  std::vector<std::unique_ptr<FakeSinkVm>> sinks;
  serve();
  for (std::size_t round = 1; round <= 3; ++round) {
    FakeSourceVm vm(small_ram(), 20);
    sinks.push_back(std::make_unique<FakeSinkVm>(small_ram()));
    sinks_[name] = sinks.back().get();
    const auto report = send(vm, std::to_string(round))->wait();
    EXPECT_EQ(report.outcome, Outcome::kDone) << report.error.value_or(Error{}).message;
    const auto there = await_reports(round);
    ASSERT_EQ(there.size(), round);
    EXPECT_EQ(there.back().outcome, Outcome::kDone);
    EXPECT_EQ(there.back().id, report.id);
  }
}

TEST_F(Service, RefusesAVmThatNobodyWaitsForByNameAndGoesOn) {
  FakeSourceVm stranger(small_ram(), 20);
  serve();
  const auto refused = send(stranger, "a")->wait();
  EXPECT_EQ(refused.outcome, Outcome::kSourceRuns);
  EXPECT_THAT(refused.error.value_or(Error{}).message, HasSubstr("no QEMU waits here for a VM called"));
  ASSERT_EQ(await_reports(1).size(), 1U);
  FakeSourceVm source(small_ram(), 20);
  FakeSinkVm sink(small_ram());
  sinks_[source.fingerprint().vm_name] = &sink;
  const auto report = send(source, "b")->wait();
  EXPECT_EQ(report.outcome, Outcome::kDone) << report.error.value_or(Error{}).message;
  ASSERT_EQ(await_reports(2).size(), 2U);
}

TEST_F(Service, SaysOfEachVmWhichOneItIs) {
  FakeSourceVm source(small_ram(), 20);
  FakeSinkVm sink(small_ram());
  sink.refuse_resume = 1;
  const std::string name = source.fingerprint().vm_name;
  sinks_[name] = &sink;
  serve();
  const auto report = send(source, "a")->wait();
  ASSERT_EQ(report.outcome, Outcome::kDone) << report.error.value_or(Error{}).message;
  ASSERT_EQ(await_reports(1).size(), 1U);
  EXPECT_THAT(notes_.look(),
              ::testing::Contains(::testing::StartsWith(name_of_move(name, report.id) + ": QEMU does not let")));
}

/// Which VM that was is known although its QEMU could not be opened.
TEST_F(Service, NamesTheVmThatItRefuses) {
  FakeSourceVm stranger(small_ram(), 20);
  stranger.set_name("stranger");
  serve();
  const auto refused = send(stranger, "a")->wait();
  const auto there = await_reports(1);
  ASSERT_EQ(there.size(), 1U);
  EXPECT_EQ(there.front().vm_name, "stranger");
  EXPECT_EQ(there.front().id, refused.id);
  EXPECT_FALSE(there.front().changed);
}

TEST_F(Service, RefusesASecondSourceForTheSameQemuAtOnce) {
  FakeSourceVm first(small_ram(), 20);
  FakeSourceVm second(small_ram(), 20);
  FakeSinkVm sink(small_ram());
  sinks_[first.fingerprint().vm_name] = &sink;
  std::promise<void> opens, go_on;
  on_open_ = [&] {
    opens.set_value();
    go_on.get_future().wait();
  };
  serve();
  const auto moves = send(first, "a");
  opens.get_future().wait();
  const auto refused = send(second, "b")->wait();
  EXPECT_THAT(refused.error.value_or(Error{}).message, HasSubstr("another VM is just being moved to this QEMU"));
  go_on.set_value();
  EXPECT_EQ(moves->wait().outcome, Outcome::kDone);
  ASSERT_EQ(await_reports(2).size(), 2U);
}

/// As where a limit on threads is reached: it ends one move, in order, and no other.
TEST_F(Service, GoesOnWhereAJobMeetsAnException) {
  const auto no_thread = [] { throw std::system_error(EAGAIN, std::generic_category()); };
  FakeSourceVm source(small_ram(), 20);
  FakeSinkVm sink(small_ram());
  sinks_[source.fingerprint().vm_name] = &sink;
  on_open_ = no_thread;
  serve();
  EXPECT_EQ(send(source, "a")->wait().outcome, Outcome::kSourceRuns);
  ASSERT_EQ(await_reports(1).size(), 1U);
  on_open_ = {};
  FakeSourceVm committed(small_ram(), 20);
  FakeSinkVm taken(small_ram());
  sinks_[source.fingerprint().vm_name] = &taken;
  taken.on_resume = no_thread;
  EXPECT_EQ(send(committed, "b")->wait().outcome, Outcome::kInDoubt);
  const auto there = await_reports(2);
  ASSERT_EQ(there.size(), 2U);
  EXPECT_EQ(there.back().outcome, Outcome::kInDoubt);
  EXPECT_TRUE(there.back().changed);
  FakeSourceVm third(small_ram(), 20);
  FakeSinkVm last(small_ram());
  sinks_[source.fingerprint().vm_name] = &last;
  EXPECT_EQ(send(third, "c")->wait().outcome, Outcome::kDone);
  ASSERT_EQ(await_reports(3).size(), 3U);
}

}  // namespace
}  // namespace godwit::receive_service_test
