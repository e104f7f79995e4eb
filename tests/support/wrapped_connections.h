// Connections that something is put around before they greet: a handshake of its own, which a stranger may draw out or
// get wrong, and a whole migration. For whatever is put around them.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "engine/broker.h"
#include "net/wrap.h"
#include "tests/support/fake_migration.h"
#include "tests/support/manual_clock.h"
#include "wire/control.h"

namespace godwit::testing {

/// A broker, and who comes to it.
class WrappedStrangers : public ::testing::Test {
 protected:
  using Connection = std::unique_ptr<Channel>;

  WrappedStrangers(Wrap connected, Wrap accepted)
      : connected_(std::move(connected)),
        broker_(
            *listener_, clock_, 1, [this](std::string_view text) { note(text); }, std::move(accepted)) {}

  /// Without anything around it.
  Connection connect() { return std::move(connect_to(listener_->address()).value()); }
  bool noted(const std::string& what) {
    const auto end = SteadyClock().now() + std::chrono::seconds(60);
    for (; SteadyClock().now() < end; std::this_thread::sleep_for(std::chrono::milliseconds(5))) {
      const std::lock_guard lock(mutex_);
      if (notes_.find(what) != std::string::npos) return true;
    }
    return false;
  }
  /// A source that does all as it should be done, and is heard.
  void expect_a_source_is_heard() {
    auto channel = connected_(connect());
    ASSERT_TRUE(channel) << channel.error().message;
    wire::Hello hello{.lanes = 1, .program = "a test's source"};
    hello.fingerprint.blocks.push_back({"ram", 1 << 20, 4096});
    ASSERT_TRUE(wire::send_greeting(**channel, {.role = wire::Role::kControl}));
    ASSERT_TRUE(wire::ControlConnection(**channel).send(hello));
    auto place = broker_.await_source({});
    ASSERT_TRUE(place) << place.error().message;
    EXPECT_TRUE(place->source().hello == hello);
    security_ = place->source().control->link().security();
    // What is said to it is wrapped, too.
    ASSERT_TRUE(wire::ControlConnection(*place->source().control).send(wire::Prepared{}));
    const auto answer = wire::ControlConnection(**channel).receive();
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_TRUE(std::holds_alternative<wire::Prepared>(*answer));
  }
  /// The same beside so many who have said as much as nothing, or more and more of `beginning`, which is less than a
  /// handshake, and say no more.
  void expect_a_source_is_heard_beside(std::size_t strangers, Bytes beginning) {
    std::vector<Connection> silent;
    for (std::size_t i = 0; i < strangers; ++i) {
      silent.push_back(connect());
      ASSERT_TRUE(send_bytes(*silent.back(), beginning.first(i % (beginning.size() + 1))));
    }
    // No clock has moved: nobody's deadline was waited for.
    expect_a_source_is_heard();
  }

  ManualClock clock_;
  std::string security_;  ///< of the source's connection, once it was heard

 private:
  void note(std::string_view text) {
    const std::lock_guard lock(mutex_);
    notes_ += std::string(text) + "\n";
  }

  std::unique_ptr<Listener> listener_ = std::move(listen_on(parse_address("tcp://127.0.0.1:0").value()).value());
  Wrap connected_;
  std::mutex mutex_;
  std::string notes_;
  Broker broker_;
};

class WrappedMigration : public FakeMigration {
 protected:
  /// What both sides say of a move that is done.
  std::pair<Report, SinkReport> expect_move(const Wrap& connected, Wrap accepted) {
    connect_ = wrapped(connect_, connected);
    auto received = receive_wrapped(std::move(accepted));
    Report report = send(steady_);
    EXPECT_EQ(report.outcome, Outcome::kDone) << report.error.value_or(Error{}).message;
    SinkReport there = received.get();
    EXPECT_EQ(there.outcome, Outcome::kDone);
    source_.with_memory([&](auto& memory) { EXPECT_TRUE(memory.bytes() == sink_.plain().bytes()); });
    return {std::move(report), std::move(there)};
  }
  /// What the source says that is not what the sink takes, and runs on.
  std::string expect_source_runs_on(Wrap accepted) {
    auto received = receive_wrapped(std::move(accepted));
    const Report report = send(steady_);
    expect_source_runs_alone(report);
    stop_.request_stop();
    EXPECT_EQ(received.get().outcome, Outcome::kSourceRuns);
    return report.error.value_or(Error{}).message;
  }

 private:
  std::future<SinkReport> receive_wrapped(Wrap accepted) {
    auto parts = sink_parts(sink_);
    parts.wrap = std::move(accepted);
    parts.cancelled = stop_.get_token();
    return std::async(std::launch::async, [parts] { return run_sink(parts); });
  }

  std::stop_source stop_;
};

}  // namespace godwit::testing
