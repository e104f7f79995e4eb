// Jobs of both sides with fake VMs: what a daemon relies on.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <sstream>

#include "base/cpu_account.h"
#include "base/migration_id.h"
#include "log/log_writer.h"
#include "service/receive_job.h"
#include "service/send_job.h"
#include "tests/support/fake_migration.h"
#include "tests/support/fake_opened.h"

namespace godwit {
namespace {

using namespace std::chrono_literals;
using testing::able_host;
using testing::FakeOpenedSink;
using testing::FakeOpenedSource;
using testing::FakeSinkVm;
using testing::FakeSourceVm;
using ::testing::HasSubstr;
using testing::small_ram;

/// A VM, a place where it goes, and a folder for both; the jobs are made by the tests.
class Move {
 public:
  explicit Move(std::string folder) : folder_(std::move(folder)) { std::filesystem::create_directories(folder_); }

  std::unique_ptr<ReceiveJob> receive(ReceiveHooks hooks = {}, const Log& log = {}) {
    std::promise<void> listens;
    hooks.on_listening = [&](const Address&) { listens.set_value(); };
    auto job = std::make_unique<ReceiveJob>(
        ReceiveRequest{.open = [this](const JobContext& context) -> Result<std::unique_ptr<OpenedSink>> {
                         sink_context = &context;
                         auto journal = TRY(Journal::open(folder_ + "/sink", {1, 1}));
                         TRY(journal.receiving());
                         return std::make_unique<FakeOpenedSink>(sink, std::move(journal));
                       },
                       .listen = address(),
                       .timeout = 60s,
                       .start_timeout = 60s,
                       .program = "test"},
        std::move(hooks), log, HostProfile{}, clock_);
    listens.get_future().wait();
    return job;
  }
  std::unique_ptr<SendJob> send(SendHooks hooks = {}, const Log& log = {}) {
    return std::make_unique<SendJob>(
        SendRequest{
            .open = [this](const JobContext&, Outcome&) -> Result<std::unique_ptr<OpenedSource>> {
              return std::make_unique<FakeOpenedSource>(source, TRY(Journal::open(folder_ + "/source", {1, 1})));
            },
            .to = address(),
            .goals = goals,
            .program = "test"},
        std::move(hooks), log, able_host(), clock_);
  }
  Address address() const { return {.kind = Address::Kind::kUnix, .path = folder_ + "/socket"}; }

  Goals goals{.max_downtime = 500ms, .timeout = 60s};
  FakeSourceVm source{small_ram(), 20};
  FakeSinkVm sink{small_ram()};
  const JobContext* sink_context = nullptr;

 private:
  std::string folder_;
  const SteadyClock clock_{};
};

class JobsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = std::filesystem::temp_directory_path() / "godwit-jobs-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string folder_;
};

TEST_F(JobsTest, OneProcessHoldsSeveralMovesAtOnce) {
  Move a(folder_ + "/a");
  Move b(folder_ + "/b");
  const auto receive_a = a.receive();
  const auto receive_b = b.receive();
  // Both are in the midst of it at the same time: each waits for the other.
  std::promise<void> a_copies, b_copies;
  const auto a_there = a_copies.get_future().share();
  const auto b_there = b_copies.get_future().share();
  const auto meet = [](std::promise<void>& mine, const std::shared_future<void>& other) {
    return [&mine, other](Milestone milestone) {
      if (milestone != Milestone::kCopying) return;
      mine.set_value();
      other.wait();
    };
  };
  const auto send_a = a.send({.on_milestone = meet(a_copies, b_there)});
  const auto send_b = b.send({.on_milestone = meet(b_copies, a_there)});
  const Report report_a = send_a->wait();
  const Report report_b = send_b->wait();
  EXPECT_EQ(report_a.outcome, Outcome::kDone) << report_a.error->message;
  EXPECT_EQ(report_b.outcome, Outcome::kDone) << report_b.error->message;
  EXPECT_EQ(receive_a->wait().outcome, Outcome::kDone);
  EXPECT_EQ(receive_b->wait().outcome, Outcome::kDone);
  EXPECT_EQ(receive_a->id(), send_a->id());
  EXPECT_EQ(receive_b->wait().id, send_b->id());
  EXPECT_EQ(report_a.id, send_a->id());
  EXPECT_TRUE(is_migration_id(report_a.id));
  EXPECT_NE(report_a.id, report_b.id);
  EXPECT_EQ(send_a->progress().value().id, report_a.id);
  EXPECT_EQ(send_a->progress().value().phase, Phase::kDone);
}

TEST_F(JobsTest, EachIsChargedForItsOwnThreadsOnly) {
  constexpr Duration kWork = 300ms;
  Move busy(folder_ + "/busy");
  Move idle(folder_ + "/idle");
  const auto receive_busy = busy.receive();
  const auto receive_idle = idle.receive();
  std::promise<void> worked;
  const auto work = [&](Milestone milestone) {
    if (milestone != Milestone::kCopying) return;
    for (const Duration begin = thread_cpu_time(); thread_cpu_time() - begin < kWork;) {
    }
    worked.set_value();
  };
  const auto wait = [there = worked.get_future().share()](Milestone milestone) {
    if (milestone == Milestone::kCopying) there.wait();
  };
  const auto send_busy = busy.send({.on_milestone = work});
  const auto send_idle = idle.send({.on_milestone = wait});
  EXPECT_GE(send_busy->wait().source_cpu, kWork);
  const Duration others = send_idle->wait().source_cpu;
  EXPECT_GT(others, Duration::zero());
  EXPECT_LT(others, kWork);
  EXPECT_LT(receive_idle->wait().cpu, kWork);
}

TEST_F(JobsTest, OneIsCancelledAndTheOtherGoesOn) {
  Move a(folder_ + "/a");
  Move b(folder_ + "/b");
  const auto receive_a = a.receive();
  const auto receive_b = b.receive();
  SendJob* cancelled = nullptr;
  std::promise<void> copies, may_go_on;
  const auto send_a = a.send({.on_milestone = [&](Milestone milestone) {
    if (milestone != Milestone::kCopying) return;
    copies.set_value();
    may_go_on.get_future().wait();
  }});
  copies.get_future().wait();
  cancelled = send_a.get();
  cancelled->cancel();
  may_go_on.set_value();
  const Report report = cancelled->wait();
  EXPECT_EQ(report.outcome, Outcome::kSourceRuns);
  EXPECT_EQ(report.error.value().kind, ErrorKind::kCancelled);
  EXPECT_TRUE(a.source.runs());
  EXPECT_FALSE(a.sink.runs());
  EXPECT_EQ(b.send()->wait().outcome, Outcome::kDone);
  EXPECT_EQ(receive_b->wait().outcome, Outcome::kDone);
}

TEST_F(JobsTest, MayBeWaitedForTwiceAndByManyAndIsToldOnce) {
  Move move(folder_);
  const auto receive = move.receive();
  std::atomic<int> told = 0;
  const auto send = move.send({.on_outcome = [&](const Report& report) {
    EXPECT_EQ(report.outcome, Outcome::kDone);
    ++told;
  }});
  auto other = std::async(std::launch::async, [&] { return send->wait().id; });
  EXPECT_EQ(send->wait().id, send->id());
  EXPECT_EQ(send->wait().id, send->id());
  EXPECT_EQ(other.get(), send->id());
  EXPECT_TRUE(send->ended());
  EXPECT_EQ(told, 1);
}

TEST_F(JobsTest, AReceiverIsCancelledWhileItWaits) {
  Move move(folder_);
  const auto receive = move.receive();
  EXPECT_FALSE(receive->ended());
  receive->cancel();
  const SinkReport report = receive->wait();
  EXPECT_EQ(report.outcome, Outcome::kSourceRuns);
  EXPECT_EQ(report.error.value().kind, ErrorKind::kCancelled);
  EXPECT_EQ(report.id, "");
}

TEST_F(JobsTest, WhoLetsAJobGoCancelsIt) {
  Move move(folder_);
  move.receive().reset();  // would wait for a minute
  EXPECT_FALSE(move.sink.runs());
}

TEST_F(JobsTest, ADriverThatCannotOpenItsVmSaysWhatIsKnownOfIt) {
  Move move(folder_);
  std::optional<Outcome> told;
  const SteadyClock clock;
  SendJob job({.open = [](const JobContext& context, Outcome& outcome) -> Result<std::unique_ptr<OpenedSource>> {
                 context.on_note("look there");
                 outcome = Outcome::kInDoubt;
                 return fail(ErrorKind::kRefused, "it has been moved already");
               },
               .to = move.address(),
               .program = "test"},
              {.on_note = [](std::string_view text) { EXPECT_EQ(text, "look there"); },
               .on_outcome = [&](const Report& report) { told = report.outcome; }},
              {}, able_host(), clock);
  EXPECT_EQ(job.wait().outcome, Outcome::kInDoubt);
  EXPECT_EQ(job.wait().error.value().message, "it has been moved already");
  EXPECT_EQ(told, Outcome::kInDoubt);
}

TEST_F(JobsTest, TheLogTellsOfOneMoveUnderItsId) {
  const std::string path = folder_ + "/log";
  const SteadyClock clock;
  Move move(folder_);
  std::string id;
  {
    auto writer = std::make_shared<LogWriter>(open_log_file(path).value());
    const auto receive = move.receive();
    const auto send = move.send({}, Log(writer, LogLevel::kInfo, clock));
    ASSERT_EQ(send->wait().outcome, Outcome::kDone);
    id = send->id();
  }
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    EXPECT_THAT(line, HasSubstr(" id=" + id + " elapsed_us="));
    lines.push_back(line.substr(line.find("event=")));
  }
  ASSERT_GT(lines.size(), 10U);
  EXPECT_THAT(lines.front(), HasSubstr("event=start program=test command=send to=unix://"));
  EXPECT_THAT(lines, ::testing::IsSupersetOf({std::string("event=milestone name=welcomed"),
                                              std::string("event=milestone name=committed"),
                                              std::string("event=phase name=copying")}));
  EXPECT_THAT(lines, ::testing::Contains(HasSubstr("event=pause-step name=\"last pages\" begin_us=")));
  EXPECT_THAT(lines.back(), HasSubstr("event=end outcome=done total_us="));
}

TEST_F(JobsTest, AStartThatTookLongIsTakenApart) {
  Move move(folder_);
  move.sink.refuse_resume = 2;  // the engine waits for 20 and for 40 ms then
  std::vector<std::string> notes;
  std::mutex mutex;
  const auto receive =
      move.receive({.on_milestone =
                        [&](Milestone milestone) {
                          if (milestone != Milestone::kCommitted) return;
                          const Instant asked = SteadyClock().now();
                          move.sink_context->on_guest_start(
                              {.asked = asked, .sent = asked + 1ms, .resumed = asked + 3ms, .heard = asked + 7ms});
                        },
                    .on_note =
                        [&](std::string_view text) {
                          const std::lock_guard lock(mutex);
                          notes.emplace_back(text);
                        }});
  ASSERT_EQ(move.send()->wait().outcome, Outcome::kDone);
  ASSERT_EQ(receive->wait().outcome, Outcome::kDone);
  EXPECT_THAT(notes, ::testing::Contains(::testing::AllOf(
                         HasSubstr("the guest's start took "), HasSubstr(" 1 ms until `cont` was sent"),
                         HasSubstr(" 2 ms until the guest ran"), HasSubstr(" 4 ms until that was heard"))));
}

TEST_F(JobsTest, AUsualStartIsNotWorthANote) {
  Move move(folder_);
  std::atomic<int> notes = 0;
  const auto receive = move.receive({.on_milestone =
                                         [&](Milestone milestone) {
                                           const Instant now = SteadyClock().now();
                                           if (milestone == Milestone::kCommitted) {
                                             move.sink_context->on_guest_start({now, now, now, now});
                                           }
                                         },
                                     .on_note =
                                         [&](std::string_view text) {
                                           if (text.find("start took") != std::string_view::npos) ++notes;
                                         }});
  ASSERT_EQ(move.send()->wait().outcome, Outcome::kDone);
  ASSERT_EQ(receive->wait().outcome, Outcome::kDone);
  EXPECT_EQ(notes, receive->wait().commit_to_resume > 50ms ? 1 : 0);
}

}  // namespace
}  // namespace godwit
