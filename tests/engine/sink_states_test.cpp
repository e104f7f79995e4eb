// The sink's states: one table in the code and in the specification, the same.
#include "engine/sink_states.h"

#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>
#include <tuple>

namespace godwit {
namespace {

using Row = std::tuple<std::string, std::string, std::string>;

std::string trimmed(std::string text) {
  const auto first = text.find_first_not_of(' ');
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(' ') - first + 1);
}

/// The rows of the table under "## States of a sink".
std::set<Row> rows_of_the_specification() {
  std::ifstream spec(GODWIT_SOURCE_FOLDER "/src/wire/spec.md");
  std::set<Row> rows;
  bool inside = false;
  for (std::string line; std::getline(spec, line);) {
    if (line.starts_with("## ")) inside = line == "## States of a sink";
    if (!inside || !line.starts_with("| ") || line.starts_with("| state")) continue;
    std::istringstream cells(line.substr(1));
    std::string from, message, to;
    std::getline(cells, from, '|');
    std::getline(cells, message, '|');
    std::getline(cells, to, '|');
    rows.insert({trimmed(from), trimmed(message), trimmed(to)});
  }
  return rows;
}

TEST(SinkStates, TheTableIsThatOfTheSpecification) {
  std::set<Row> rows;
  for (const auto& row : kSinkTransitions) {
    rows.insert({std::string(name_of(row.from)), std::string(row.message), std::string(name_of(row.to))});
  }
  EXPECT_EQ(rows, rows_of_the_specification());
  EXPECT_EQ(rows.size(), kSinkTransitions.size()) << "no row twice";
}

TEST(SinkStates, AMessageOutOfOrderIsRefusedByName) {
  const auto refused = next_state(SinkState::kDevicesEnded, wire::Commit{});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kProtocol);
  EXPECT_EQ(refused.error().message, "the source sent Commit out of order (this side's state: devices ended)");
  EXPECT_FALSE(next_state(SinkState::kCopying, wire::Welcome{})) << "a message that only a sink sends";
  EXPECT_EQ(next_state(SinkState::kPrepared, wire::Commit{}), SinkState::kCommitted);
}

TEST(SinkStates, HeartbeatAndAbortChangeNone) {
  for (auto s = SinkState::kListening; s <= SinkState::kRunning; s = SinkState(std::uint8_t(s) + 1)) {
    EXPECT_EQ(next_state(s, wire::Heartbeat{}), s);
    EXPECT_EQ(next_state(s, wire::Abort{}), s);
  }
}

}  // namespace
}  // namespace godwit
