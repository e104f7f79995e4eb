// The first words of a connection, however they come.
#include "wire/opening.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "tests/wire/samples.h"
#include "wire/control.h"

namespace godwit::wire::opening_test {
namespace {

using testing::sample_fingerprint;

Hello sample_hello() {
  return {.fingerprint = sample_fingerprint(), .lanes = 3, .program = "godwit 0.1.0", .open_lanes = 3};
}

/// A control connection's greeting and Hello, then the beginning of something else.
std::vector<std::byte> source_bytes(const Greeting& greeting) {
  auto pair = make_channel_pair().value();
  EXPECT_TRUE(send_greeting(*pair.first, greeting));
  EXPECT_TRUE(ControlConnection(*pair.first).send(sample_hello()));
  EXPECT_TRUE(ControlConnection(*pair.first).send(DataMapEnd{}));
  EXPECT_TRUE(pair.first->shut_down());
  std::vector<std::byte> bytes;
  std::array<std::byte, 1> one;
  while (receive_bytes(*pair.second, one)) bytes.push_back(one[0]);
  return bytes;
}

/// Feeds pieces of at most `piece` bytes; gives how many were taken.
Result<std::size_t> feed(Opening& opening, Bytes bytes, std::size_t piece) {
  std::size_t taken = 0;
  while (!opening.room().empty() && taken < bytes.size()) {
    const std::size_t size = std::min({opening.room().size(), bytes.size() - taken, piece});
    std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(taken), size, opening.room().begin());
    taken += size;
    TRY(opening.advance(size));
  }
  return taken;
}

TEST(Opening, ReadsASourceInPiecesOfAnySizeAndNoByteMore) {
  Greeting greeting{.role = Role::kControl};
  greeting.secret.fill(std::byte{7});
  const auto bytes = source_bytes(greeting);
  for (const std::size_t piece : {std::size_t{1}, std::size_t{3}, std::size_t{100}, bytes.size()}) {
    Opening opening;
    const auto taken = feed(opening, bytes, piece);
    ASSERT_TRUE(taken) << taken.error().message;
    EXPECT_EQ(*taken, bytes.size() - 8) << "DataMapEnd's header is not for it";
    ASSERT_TRUE(opening.complete());
    EXPECT_TRUE(*opening.greeting() == greeting);
    EXPECT_TRUE(opening.take_hello() == sample_hello());
  }
}

TEST(Opening, OfALaneIsItsGreeting) {
  const auto bytes = source_bytes({.role = Role::kLane, .lane = 5});
  Opening opening;
  const auto taken = feed(opening, bytes, bytes.size());
  ASSERT_TRUE(taken);
  EXPECT_EQ(*taken, 48U);
  EXPECT_TRUE(opening.complete());
  EXPECT_EQ(opening.greeting()->lane, 5);
}

TEST(Opening, IsNotCompleteBeforeItsLastByte) {
  const auto bytes = source_bytes({.role = Role::kControl});
  Opening opening;
  ASSERT_TRUE(feed(opening, Bytes(bytes).first(bytes.size() - 9), 11));
  EXPECT_FALSE(opening.complete());
  EXPECT_TRUE(opening.greeting().has_value());
  EXPECT_EQ(opening.room().size(), 1U);
}

TEST(Opening, KnowsAStrangerByItsFirstBytes) {
  Opening opening;
  const auto taken = feed(opening, bytes_of("GET / HTTP/1.1"), 1);
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().kind, ErrorKind::kProtocol);
  EXPECT_FALSE(opening.from_godwit());
}

TEST(Opening, KnowsAnotherVersion) {
  const auto bytes = source_bytes({.version = 9, .role = Role::kControl});
  Opening opening;
  const auto taken = feed(opening, bytes, 10);
  ASSERT_FALSE(taken);
  EXPECT_NE(taken.error().message.find("version 9"), std::string::npos);
  EXPECT_TRUE(opening.from_godwit());
}

TEST(Opening, TakesNothingButHelloAndNoEndlessOne) {
  const auto whole = source_bytes({.role = Role::kControl});
  for (const auto& [at, value] : {std::pair<std::size_t, int>{48, 7}, {48, 0x41}, {51, 1}, {55, 0x7f}}) {
    auto bytes = whole;
    bytes[at] = std::byte(value);
    Opening opening;
    EXPECT_FALSE(feed(opening, bytes, 64)) << at;
  }
}

TEST(Welcome, NamesLanesInRisingOrder) {
  const auto decoded = [](const std::string& lanes) {
    Encoded encoded = encode(Welcome{sample_fingerprint(), "p"});
    std::string text(text_of(encoded.body));
    text.insert(text.size() - 1, ",\"lanes\":" + lanes);
    return decode(encoded.type, bytes_of(text));
  };
  const auto good = decoded("[0,2,63]");
  ASSERT_TRUE(good) << good.error().message;
  EXPECT_EQ(std::get<Welcome>(*good).lanes, (std::vector<std::uint16_t>{0, 2, 63}));
  for (const char* bad : {"[2,0]", "[1,1]", "[64]", "[-1]", "[1.5]", "[\"1\"]", "{}", "3", "[4294967296]"}) {
    EXPECT_FALSE(decoded(bad)) << bad;
  }
}

}  // namespace
}  // namespace godwit::wire::opening_test
