// What is asked of a move under way, and what it answers; garbage is answered, too.
#include "app/control_request.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "app/control_desk.h"

namespace godwit::control_request_test {
namespace {

using namespace std::chrono_literals;

class FakeMove final : public ControlledMove {
 public:
  Status change(const GoalChange& change) override {
    changes.push_back(change);
    return answer;
  }
  Status order(Order order) override {
    orders.push_back(order);
    return answer;
  }
  Status cancel() override {
    ++cancelled;
    return answer;
  }
  Goals goals() const override { return {.max_downtime = 30ms, .bandwidth = BitRate{1'000'000'000}}; }
  std::optional<Progress> progress() const override { return latest; }

  std::vector<GoalChange> changes;
  std::vector<Order> orders;
  int cancelled = 0;
  Status answer;
  std::optional<Progress> latest;
};

nlohmann::json asked(FakeMove& move, std::string_view line) {
  const std::string answer = answer_request(line, move);
  EXPECT_EQ(answer.find('\n'), std::string::npos) << answer;
  return nlohmann::json::parse(answer, nullptr, false);
}

TEST(ControlRequest, IsTheSameThereAsItWasWritten) {
  for (const std::vector<std::string>& words : {std::vector<std::string>{"status"},
                                                {"cancel"},
                                                {"switch-over-now"},
                                                {"postcopy-now"},
                                                {"set", "max-downtime", "100ms"},
                                                {"set", "bandwidth", "2.5Gbit"},
                                                {"set", "deadline", "none"}}) {
    const auto written = control_request_of(words);
    ASSERT_TRUE(written) << words[0];
    const auto read = parse_request(request_line(*written));
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(read->command, words[0]);
    EXPECT_EQ(read->goal, words.size() > 1 ? words[1] : "");
    EXPECT_EQ(read->value, words.size() > 2 ? words[2] : "");
  }
}

TEST(ControlRequest, SaysWhatThereIsWhereAWordIsUnknown) {
  const auto message = [](const std::vector<std::string>& words) { return control_request_of(words).error().message; };
  EXPECT_NE(message({"stop"}).find("switch-over-now"), std::string::npos);
  EXPECT_NE(message({"set", "lanes", "3"}).find("max-downtime"), std::string::npos);
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"set"}, {"set", "timeout"}, {"set", "timeout", "1h", "2h"}, {"status", "now"}}) {
    EXPECT_FALSE(control_request_of(words)) << words.size();
  }
}

TEST(ControlRequest, ChangesOneGoal) {
  FakeMove move;
  const auto set = [&](const char* goal, const char* value) {
    return asked(move, request_line({"set", goal, value})).value("done", false);
  };
  EXPECT_TRUE(set("max-downtime", "100ms"));
  EXPECT_EQ(move.changes.back().max_downtime, 100ms);
  EXPECT_TRUE(set("timeout", "2h"));
  EXPECT_EQ(move.changes.back().timeout, 2h);
  EXPECT_TRUE(set("deadline", "10min"));
  EXPECT_EQ(move.changes.back().deadline, std::optional<Duration>(10min));
  EXPECT_TRUE(set("deadline", "none"));
  ASSERT_TRUE(move.changes.back().deadline);
  EXPECT_FALSE(*move.changes.back().deadline);
  EXPECT_TRUE(set("on-deadline", "pause"));
  EXPECT_EQ(move.changes.back().on_deadline, OnDeadline::kPause);
  EXPECT_TRUE(set("guest-slowdown", "30%"));
  EXPECT_DOUBLE_EQ(*move.changes.back().guest_slowdown, 0.3);
  EXPECT_TRUE(set("bandwidth", "100Mbit"));
  EXPECT_EQ(move.changes.back().bandwidth, std::optional(BitRate{100'000'000}));
  EXPECT_FALSE(move.changes.back().timeout);
  const auto count = move.changes.size();
  for (const auto& [goal, value] : {std::pair{"max-downtime", "100"},
                                    {"max-downtime", "1h"},
                                    {"bandwidth", "0"},
                                    {"guest-slowdown", "100%"},
                                    {"on-deadline", "never"},
                                    {"timeout", ""}}) {
    EXPECT_FALSE(set(goal, value)) << goal << " " << value;
  }
  EXPECT_EQ(move.changes.size(), count);
}

TEST(ControlRequest, OrdersAndCancels) {
  FakeMove move;
  EXPECT_TRUE(asked(move, request_line({"switch-over-now", "", ""})).value("done", false));
  EXPECT_TRUE(asked(move, request_line({"postcopy-now", "", ""})).value("done", false));
  EXPECT_TRUE(asked(move, request_line({"cancel", "", ""})).value("done", false));
  EXPECT_EQ(move.orders, (std::vector{Order::kSwitchOver, Order::kPostcopy}));
  EXPECT_EQ(move.cancelled, 1);
  move.answer = fail(ErrorKind::kRefused, "the move has been committed already");
  const auto answer = asked(move, request_line({"cancel", "", ""}));
  EXPECT_FALSE(answer.value("done", true));
  EXPECT_EQ(answer.value("error", ""), "the move has been committed already");
}

TEST(ControlRequest, TellsProgressAsTheLinesForProgramsDo) {
  FakeMove move;
  auto answer = asked(move, R"({"command":"status"})");
  EXPECT_TRUE(answer["progress"].is_null());
  EXPECT_EQ(answer["goals"]["max_downtime_us"], 30'000);
  EXPECT_EQ(answer["goals"]["bandwidth_bits_per_second"], 1'000'000'000);
  move.latest = Progress{.phase = Phase::kCopying, .ram_bytes = 1 << 30, .trouble = "it does not converge"};
  answer = asked(move, R"({"command":"status"})");
  EXPECT_EQ(answer["progress"]["phase"], "copying");
  EXPECT_EQ(answer["progress"]["ram_bytes"], 1 << 30);
  EXPECT_NE(answer["text"].get<std::string>().find("copying"), std::string::npos);
  EXPECT_NE(answer["text"].get<std::string>().find("it does not converge"), std::string::npos);
}

TEST(ControlRequest, AnswersGarbageWithARefusal) {
  FakeMove move;
  for (const std::string line :
       {"", "status", "{", "[1]", "null", "{}", R"({"command":7})", R"({"command":"set"})", R"({"command":"quit"})",
        R"({"command":"set","goal":"timeout","value":{}})", R"({"command":"set","goal":"","value":"1s"})",
        "\xff\xfe\x00x", R"({"command":"\u0000"})", "[[[[[[[[[[[[[[[[[[[[[["}) {
    const auto answer = asked(move, line);
    ASSERT_TRUE(answer.is_object()) << line;
    EXPECT_FALSE(answer.value("done", true)) << line;
    EXPECT_FALSE(answer.value("error", "").empty()) << line;
  }
  EXPECT_TRUE(move.changes.empty());
  EXPECT_TRUE(move.orders.empty());
  EXPECT_EQ(move.cancelled, 0);
}

}  // namespace
}  // namespace godwit::control_request_test
