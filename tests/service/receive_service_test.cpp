// One address where many VMs come in, with fake VMs.
#include "service/receive_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <future>
#include <map>

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
           .on_report = [this](const SinkReport& r) { reports_.change([&](auto& all) { all.push_back(r); }); }},
          [] { return Log(); }, HostProfile{}, clock_);
      return service.run(stop_.get_token());
    });
    listens.get_future().wait();
  }
  Result<OpenSink> open_for(const std::string& name) {
    const auto sink = sinks_.find(name);
    if (sink == sinks_.end()) return fail(ErrorKind::kNotFound, "no QEMU waits here for a VM called '" + name + "'");
    return OpenSink([this, name, vm = sink->second](const JobContext&) -> Result<std::unique_ptr<OpenedSink>> {
      auto journal = TRY(Journal::open(folder_ + "/sink-" + name, {1, 1}));
      TRY(journal.receiving());
      return std::make_unique<FakeOpenedSink>(*vm, std::move(journal));
    });
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
  Mailbox<std::vector<SinkReport>> reports_;
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

}  // namespace
}  // namespace godwit::receive_service_test
