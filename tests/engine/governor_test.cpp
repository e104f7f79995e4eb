// The governor, by what it is told, and by simulated lanes on simulated links.
#include "engine/governor.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "bench/governor/lane_simulation.h"
#include "engine/fence_rate.h"

namespace godwit::governor_test {
namespace {

using simulation::Block;
using namespace std::chrono_literals;

constexpr std::size_t kBlock = 256 * 1024;
constexpr std::size_t kQueue = 4 * kBlock;
// Sorts of content, and what each level makes of them: not the table's own figures, because no guest has just those.
struct Sort {
  std::array<double, kCodecLevels> saved;
  std::array<double, kCodecLevels> ns_per_byte;
  double entropy;  ///< of its bytes
};
constexpr Sort kRandom = {{0, 0, 0, 0, 0, 0, 0, 0}, {0, .08, .08, .09, .15, .3, .4, 2.5}, 7.57};
constexpr Sort kWeak = {{0, 0, .01, .01, .02, .06, .07, .08}, {0, .2, .25, .3, .5, 1.3, 2, 4.5}, 7.3};
constexpr Sort kCode = {{0, .38, .43, .47, .51, .54, .56, .565}, {0, .7, .9, 1.1, 1.5, 1.9, 3.4, 7}, 5.6};
constexpr Sort kText = {{0, .5, .61, .65, .72, .745, .76, .77}, {0, 1.0, 1.4, 1.6, 2.0, 2.4, 3.7, 8.8}, 4.7};
constexpr Sort kSparse = {{0, .85, .86, .87, .92, .925, .93, .935}, {0, .5, .55, .6, .9, 1.0, 1.3, 4}, 2.2};

Block block_of(const Sort& sort, double off = 1) {
  Block block{.bytes = kBlock, .entropy = sort.entropy};
  for (std::size_t r = 0; r < kCodecLevels; ++r) {
    block.on[r].wire = static_cast<std::size_t>(kBlock * (1 - std::min(0.99, sort.saved[r] * off)));
    block.on[r].ns = sort.ns_per_byte[r] * kBlock * off;
  }
  return block;
}

/// Runs of one to six blocks of a sort, as a busy guest has them; each block a little different.
std::vector<Block> busy_guest() {
  std::mt19937_64 random(3);
  std::vector<Block> blocks;
  while (blocks.size() < 509) {
    const std::uint64_t pick = random() % 100;
    const Sort& sort = pick < 20 ? kRandom : pick < 28 ? kWeak : pick < 60 ? kCode : pick < 88 ? kText : kSparse;
    for (std::uint64_t left = 1 + random() % 6; left > 0; --left) {
      blocks.push_back(block_of(sort, std::uniform_real_distribution<double>(0.85, 1.15)(random)));
    }
  }
  return blocks;
}

Duration nanoseconds(double ns) {
  return Duration(static_cast<std::int64_t>(ns));
}

/// A lane that waits in each send() for a share of the time that the block took in all: before a queue that is full, or
/// never, before one that is empty.
struct Lane {
  Governor governor;
  double machine = 1;  ///< its time for an encoding over the table's

  std::size_t step(const Sort& sort, double wait, double for_receiver = 0, BlockKind kind = BlockKind::kPages) {
    const std::size_t level = governor.choose(kind, kBlock);
    const Block block = block_of(sort);
    const double encoding = block.on[level].ns * machine;
    const double sending = 0.3 * static_cast<double>(block.on[level].wire);
    const double busy = encoding + sending + 0.1 * kBlock;
    const double waited = busy * wait / (1 - wait);
    governor.learn({.level = level,
                    .kind = kind,
                    .block_bytes = kBlock,
                    .wire_bytes = block.on[level].wire,
                    .encoding = nanoseconds(encoding),
                    .sending = nanoseconds(sending),
                    .waited = nanoseconds(waited),
                    .waited_for_receiver = nanoseconds(waited * for_receiver),
                    .queued_at_start = wait > 0 ? kQueue : 0,
                    .queued_before = wait > 0 ? kQueue : 0,
                    .queued_after = wait > 0 ? kQueue : 0,
                    .elapsed = nanoseconds(busy + waited)});
    return level;
  }
  std::size_t steps(int n, const Sort& sort, double wait, double for_receiver = 0) {
    std::size_t level = 0;
    while (n-- > 0) level = step(sort, wait, for_receiver);
    return level;
  }
};

/// A lane on a link that takes `ns_per_byte`, through a queue: it waits where that has no room for the next block.
struct LaneOnLink {
  double ns_per_byte;
  double machine = 1;  ///< its time for an encoding over the table's
  Governor governor;
  double queued = 0;

  std::size_t step(const Sort& sort, double entropy = kUnsampled, BlockKind kind = BlockKind::kPages) {
    const std::size_t level = governor.choose(kind, kBlock, entropy);
    const Block block = block_of(sort);
    const auto wire = static_cast<double>(block.on[level].wire);
    const double encoding = block.on[level].ns * machine;
    const double busy = encoding + 0.3 * wire + 0.1 * kBlock;
    const double at_start = queued;
    const double before = ns_per_byte > 0 ? std::max(0.0, queued - busy / ns_per_byte) : 0;
    const double excess = std::max(0.0, before + wire - kQueue);
    queued = before + wire - excess;
    governor.learn({.level = level,
                    .kind = kind,
                    .entropy = entropy,
                    .block_bytes = kBlock,
                    .wire_bytes = block.on[level].wire,
                    .encoding = nanoseconds(encoding),
                    .sending = nanoseconds(0.3 * wire),
                    .waited = nanoseconds(excess * ns_per_byte),
                    .queued_at_start = static_cast<std::size_t>(at_start),
                    .queued_before = static_cast<std::size_t>(before),
                    .queued_after = static_cast<std::size_t>(queued),
                    .elapsed = nanoseconds(busy + excess * ns_per_byte)});
    return level;
  }
  /// How many of so many blocks were encoded.
  int encoded(int blocks, const Sort& sort, double entropy = kUnsampled, BlockKind kind = BlockKind::kPages) {
    int count = 0;
    while (blocks-- > 0) count += step(sort, entropy, kind) != 0;
    return count;
  }
};

/// A lane whose bytes a proxy takes at once and passes on at its own pace: rounds of blocks, each ended by a fence.
struct LaneBehindProxy {
  double ns_per_byte;  ///< of the way behind the proxy
  bool tells_fences = true;
  Governor governor;
  FenceRate fences;
  double in_proxy = 0;

  /// How many of the round's blocks were encoded.
  int round(int blocks, const Sort& sort) {
    int encoded = 0;
    double sent = 0;
    double worked = 0;
    for (int i = 0; i < blocks; ++i) {
      const std::size_t level = governor.choose(BlockKind::kPages, kBlock);
      const Block block = block_of(sort);
      const auto wire = static_cast<double>(block.on[level].wire);
      const double busy = block.on[level].ns + 0.3 * wire + 0.1 * kBlock;
      in_proxy = std::max(0.0, in_proxy - busy / ns_per_byte) + wire;
      sent += wire;
      worked += busy;
      encoded += level != 0;
      governor.learn({.level = level,
                      .block_bytes = kBlock,
                      .wire_bytes = block.on[level].wire,
                      .encoding = nanoseconds(block.on[level].ns),
                      .sending = nanoseconds(0.3 * wire),
                      .way_rate = tells_fences ? fences.bytes_per_ns() : 0,
                      .elapsed = nanoseconds(busy)});
    }
    const Duration took = 20ms + nanoseconds(in_proxy * ns_per_byte);
    fences.add(static_cast<std::uint64_t>(sent), took, took + nanoseconds(worked));
    in_proxy = 0;
    return encoded;
  }
};

TEST(Governor, SeesTheQueueOfAProxyByItsFences) {
  // 100 Mbit/s behind `ssh -L`: the near socket is always empty.
  LaneBehindProxy blind{.ns_per_byte = 80, .tells_fences = false};
  LaneBehindProxy lane{.ns_per_byte = 80};
  for (const int blocks : {40, 10, 20, 30, 10, 40}) {
    (void)blind.round(blocks, kText);
    (void)lane.round(blocks, kText);
  }
  EXPECT_EQ(blind.round(20, kText), 0) << "nothing here would need fences";
  EXPECT_GE(lane.round(20, kText), 18);
  EXPECT_GE(lane.governor.price(), 40);
  // A proxy in front of a fast way: within a round it is as if there were none.
  lane.ns_per_byte = 0.1;
  (void)lane.round(30, kText);
  (void)lane.round(30, kText);
  EXPECT_EQ(lane.round(20, kText), 0);
}

TEST(CodecLevels, BeginWithRawAndEachCanBeEncoded) {
  ASSERT_EQ(codec_levels().size(), kCodecLevels);
  EXPECT_EQ(codec_levels()[0].id, CodecId::kRaw);
  for (const CodecChoice& choice : codec_levels()) {
    const auto encoder = make_encoder(choice);
    ASSERT_TRUE(encoder) << format_codec(choice);
    EXPECT_EQ(*encoder == nullptr, choice.id == CodecId::kRaw);
  }
}

TEST(CodecLevels, EachIsSlowerAndSavesMoreThanTheOneBefore) {
  double ns_before = -1;
  double saved_before = -1;
  for (std::size_t r = 0; r < kCodecLevels; ++r) {
    double ns = 0;
    double saved = 0;
    for (std::size_t c = 0; c < kContentClasses; ++c) {
      ns += kClassShares[c] * codec_level(r).on[c].ns_per_byte;
      saved += kClassShares[c] * codec_level(r).on[c].saved;
    }
    EXPECT_GT(ns, ns_before) << r;
    EXPECT_GT(saved, saved_before) << r;
    ns_before = ns;
    saved_before = saved;
  }
}

TEST(Governor, SendsRawAndSaysSoWhereItNeverWaits) {
  Lane lane;
  EXPECT_FALSE(lane.governor.link_is_idle());
  lane.steps(40, kCode, 0);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(lane.step(kCode, 0), 0U);
  EXPECT_TRUE(lane.governor.link_is_idle());
}

TEST(Governor, EncodesEvenOnAnIdleLinkWhatIsCheaperToEncodeThanToSend) {
  Lane lane;
  lane.machine = 0.1;  // an encoder that costs less than the kernel's copy of what it saves
  lane.steps(40, kSparse, 0);
  EXPECT_NE(lane.step(kSparse, 0), 0U);
}

TEST(Governor, ClimbsOnASlowLinkWithinSomeBlocks) {
  Lane lane;
  lane.steps(10, kCode, 0.95);
  EXPECT_GE(codec_levels()[lane.step(kCode, 0.95)].id, CodecId::kZstd);
  EXPECT_FALSE(lane.governor.link_is_idle());
}

TEST(Governor, ComesDownWhenTheLinkGetsFast) {
  Lane lane;
  lane.steps(100, kCode, 0.95);
  EXPECT_EQ(lane.steps(400, kCode, 0), 0U);
}

/// Where the destination took nothing for once: what takes hundreds of blocks to be forgotten costs a fast link more
/// than compression ever saves there.
TEST(Governor, ForgetsAStallWithinSomeBlocksWhereTheLinkIsFast) {
  Lane lane;
  lane.steps(300, kCode, 0);
  const double before = lane.governor.price();
  lane.steps(6, kCode, 0.97);
  EXPECT_GT(lane.governor.price(), 20 * before);
  EXPECT_EQ(lane.steps(50, kCode, 0), 0U);
}

TEST(Governor, PaysNoMoreForAByteThanAMultipleOfWhatTheLinkCharges) {
  for (const double charge : {0.5, 5.0, 15.0}) {
    LaneOnLink lane{charge};
    lane.encoded(1000, kCode);
    EXPECT_LE(lane.governor.price(), 1.01 * Governor::kGenerosity * charge) << charge;
  }
  LaneOnLink lane{50};
  lane.encoded(1000, kCode);
  EXPECT_GT(lane.governor.price(), 50);  // there is time to spare, and it is used
}

TEST(Governor, ComesDownWhereTheReceiverIsTheBottleneck) {
  Lane lane;
  lane.steps(100, kCode, 0.9);
  const double before = lane.governor.price();
  EXPECT_EQ(lane.steps(100, kCode, 0.9, 1.0), 0U);
  EXPECT_LT(lane.governor.price(), before / 10);
}

/// The same where the queue is empty before each block, and where nothing but such waits was ever seen.
TEST(Governor, WaitsForTheReceiverRaiseNoPriceWhateverTheQueue) {
  for (const int blocks_before : {0, 100}) {
    LaneOnLink lane{8};
    lane.encoded(blocks_before, kCode);
    const double before = lane.governor.price();
    for (int i = 0; i < 100; ++i) {
      lane.governor.learn({.level = 5,
                           .block_bytes = kBlock,
                           .wire_bytes = kBlock / 2,
                           .encoding = nanoseconds(4e5),
                           .sending = nanoseconds(4e4),
                           .waited = nanoseconds(1e5),
                           .waited_for_receiver = nanoseconds(1e5),
                           .queued_after = kBlock / 4,
                           .elapsed = nanoseconds(6e5)});
    }
    EXPECT_LT(lane.governor.price(), before / 10) << blocks_before;
  }
}

TEST(Governor, ClimbsAgainWhenTheReceiverHasRecovered) {
  Lane lane;
  lane.steps(100, kCode, 0.9);
  lane.steps(300, kCode, 0.9, 1.0);
  lane.steps(20, kCode, 0.9);
  EXPECT_GE(codec_levels()[lane.step(kCode, 0.9)].id, CodecId::kZstd);
}

TEST(Governor, SendsRandomBytesRawAndLooksNowAndThen) {
  LaneOnLink lane{2};
  lane.encoded(300, kRandom);
  const int encoded = lane.encoded(1000, kRandom);
  EXPECT_GT(encoded, 10);
  EXPECT_LT(encoded, 60);
}

TEST(Governor, NoticesWhenContentBecomesCompressible) {
  LaneOnLink lane{2};
  lane.encoded(1000, kRandom);
  lane.encoded(50, kText);
  EXPECT_GT(lane.encoded(100, kText), 80);
}

/// On a link on which only some of the blocks can be encoded, these are the ones that are worth it.
TEST(Governor, LooksTellContentApartThatTakesTurns) {
  const auto weak_ones_encoded = [](double of_text, double of_weak) {
    LaneOnLink lane{0.7};
    int text = 0;
    int weak = 0;
    for (int i = 0; i < 300; ++i) {
      text += lane.encoded(1, kText, of_text);
      weak += lane.encoded(1, kWeak, of_weak);
    }
    EXPECT_GT(text, 60);
    return weak;
  };
  EXPECT_GT(weak_ones_encoded(kUnsampled, kUnsampled), 40);
  EXPECT_LT(weak_ones_encoded(4.6, 7.4), 20);
}

/// Pages of random bytes that repeat: no look at single bytes can see that.
TEST(Governor, LooksThatAreWrongAreTrustedLess) {
  LaneOnLink lane{4};  // on a faster link some of them had better go raw, whatever they are
  lane.encoded(300, kText, 7.6);
  EXPECT_GT(lane.encoded(100, kText, 7.6), 90);
}

TEST(Governor, DoesNotEvenLookWhereSavingIsWorthNothing) {
  LaneOnLink lane{0};
  lane.encoded(200, kRandom);
  EXPECT_EQ(lane.encoded(1000, kRandom), 0);
}

TEST(Governor, PredictsEachKindFromItsOwnPast) {
  LaneOnLink lane{2};
  int pages = 0;
  int changes = 0;
  for (int i = 0; i < 300; ++i) {
    const bool counts = i >= 200;
    pages += lane.encoded(1, kRandom, kUnsampled, BlockKind::kPages) * counts;
    changes += lane.encoded(1, kText, kUnsampled, BlockKind::kChanges) * counts;
  }
  EXPECT_LT(pages, 20);
  EXPECT_GT(changes, 90);
}

TEST(Governor, LearnsHowFastTheMachineIs) {
  std::size_t fast = 0;
  std::size_t slow = 0;
  for (const double machine : {1.0, 8.0}) {
    LaneOnLink lane{3, machine};  // what zstd costs a fast machine, and lz4 a slow one
    for (int i = 0; i < 300; ++i) {
      const std::size_t level = lane.step(kCode);
      (machine > 1 ? slow : fast) += i >= 100 ? level : 0;
    }
  }
  EXPECT_LT(slow, fast);
}

/// Waits and the lack of them are late news; the queue tells before.
TEST(Governor, PaysLessForBytesWhileTheQueueRunsEmpty) {
  const auto price_at = [](std::size_t queued) {
    Lane lane;
    lane.steps(50, kCode, 0.1);
    const std::size_t wire = kBlock / 2;
    lane.governor.learn({.level = 5,
                         .block_bytes = kBlock,
                         .wire_bytes = wire,
                         .encoding = nanoseconds(4e5),
                         .sending = nanoseconds(4e4),
                         .queued_at_start = queued,
                         .queued_before = queued,
                         .queued_after = queued + wire,
                         .elapsed = nanoseconds(5e5)});
    return lane.governor.price();
  };
  EXPECT_LT(price_at(0), 0.8 * price_at(kQueue / 4));
  EXPECT_LT(price_at(kQueue / 4), 0.9 * price_at(kQueue / 2));
  EXPECT_EQ(price_at(kQueue / 2), price_at(kQueue - kBlock));
}

/// A queue that never makes anybody wait is not full, however long it is.
TEST(Governor, ComesDownWhereNothingEverWaits) {
  LaneOnLink lane{8};
  lane.encoded(100, kCode);
  const double before = lane.governor.price();
  for (int i = 0; i < 2000; ++i) {
    lane.governor.learn({.level = 5,
                         .block_bytes = kBlock,
                         .wire_bytes = kBlock / 2,
                         .encoding = nanoseconds(4e5),
                         .sending = nanoseconds(4e4),
                         .queued_at_start = kQueue,
                         .queued_before = kQueue,
                         .queued_after = kQueue,
                         .elapsed = nanoseconds(5e5)});
  }
  EXPECT_LT(lane.governor.price(), before / 10);
}

/// The most that is paid for a byte is a multiple of what the link charges. Pauses in which the queue ran empty must
/// not make the link look faster, nor must one standstill make it look slow.
TEST(Governor, KnowsTheLinkAgainAfterPausesAndStalls) {
  LaneOnLink paused{8};
  for (int i = 0; i < 20; ++i) {
    paused.encoded(10, kCode);
    paused.queued = 0;
  }
  Lane same{.governor = paused.governor};
  same.steps(3, kSparse, 0.97);
  EXPECT_GT(same.governor.price(), 0.8 * Governor::kGenerosity * 8);

  LaneOnLink stalled{0.8};
  stalled.encoded(300, kCode);
  stalled.governor.learn({.level = 1,
                          .block_bytes = kBlock,
                          .wire_bytes = kBlock / 2,
                          .encoding = nanoseconds(2e5),
                          .sending = nanoseconds(4e4),
                          .waited = nanoseconds(2e8),
                          .queued_at_start = kQueue,
                          .queued_before = kQueue,
                          .queued_after = kQueue,
                          .elapsed = nanoseconds(2e8)});
  EXPECT_LT(stalled.governor.price(), 2 * Governor::kGenerosity * 0.8);
}

/// With a limit that lanes share, others may have taken all of it before this one had to wait.
TEST(Governor, LearnsNoRateFromAQueueThatOthersFill) {
  Governor governor;
  governor.learn({.level = 3,
                  .block_bytes = kBlock,
                  .wire_bytes = kBlock / 2,
                  .encoding = nanoseconds(2e5),
                  .sending = nanoseconds(4e4),
                  .waited = nanoseconds(5e6),
                  .queued_at_start = 6 * kBlock,
                  .queued_before = 6 * kBlock,
                  .queued_after = 12 * kBlock,
                  .elapsed = nanoseconds(6e6)});
  EXPECT_LT(governor.price(), 10);
}

/// What is under way on a long line is not a queue: with nothing else the link has run dry.
TEST(Governor, BytesUnderWayAreNoQueue) {
  const auto price_with = [](Duration round_trip) {
    LaneOnLink lane{8};
    lane.encoded(100, kCode);
    lane.governor.learn({.level = 5,
                         .block_bytes = kBlock,
                         .wire_bytes = kBlock / 2,
                         .encoding = nanoseconds(4e5),
                         .sending = nanoseconds(4e4),
                         .queued_at_start = 3 * kBlock,
                         .queued_before = 3 * kBlock,
                         .queued_after = 3 * kBlock + kBlock / 2,
                         .round_trip = round_trip,
                         .elapsed = nanoseconds(5e5)});
    return lane.governor.price();
  };
  EXPECT_LT(price_with(nanoseconds(8.0 * 4 * kBlock)), 0.8 * price_with(Duration::zero()));
}

TEST(Governor, ChoosesTheSameAfterTheSame) {
  const auto guest = busy_guest();
  const simulation::Setting setting{.cores = 2, .lanes = 2, .blocks = 500};
  simulation::Governed first(2);
  simulation::Governed second(2);
  const auto a = simulation::Simulation(setting, guest, first).run();
  const auto b = simulation::Simulation(setting, guest, second).run();
  EXPECT_EQ(a.page_gbit, b.page_gbit);
  EXPECT_EQ(first.of(0).price(), second.of(0).price());
}

TEST(Governor, StandsWhateverItIsTold) {
  constexpr auto kMost = std::numeric_limits<std::int64_t>::max();
  constexpr auto kLeast = std::numeric_limits<std::int64_t>::min();
  const std::array<std::int64_t, 7> times = {0, 1, -1, 1000, 1'000'000'000, kMost, kLeast};
  const std::array<std::size_t, 6> sizes = {
      0, 1, 4096, kBlock, std::size_t{1} << 40, std::numeric_limits<std::size_t>::max()};
  std::mt19937_64 random(11);
  const auto time = [&] { return Duration(times[random() % times.size()]); };
  const auto size = [&] { return sizes[random() % sizes.size()]; };
  Governor governor;
  for (int i = 0; i < 20'000; ++i) {
    const auto kind = i % 3 == 0 ? BlockKind::kChanges : BlockKind::kPages;
    const std::array<double, 6> entropies = {kUnsampled, 0, 4.5, 7.6, 8, 1e300};
    const double entropy = entropies[random() % entropies.size()];
    ASSERT_LT(governor.choose(kind, size(), entropy), kCodecLevels);
    governor.learn({.level = random() % (kCodecLevels + 2),
                    .kind = kind,
                    .entropy = entropy,
                    .block_bytes = size(),
                    .wire_bytes = size(),
                    .encoding = time(),
                    .sending = time(),
                    .waited = time(),
                    .waited_for_receiver = time(),
                    .queued_at_start = size(),
                    .queued_before = size(),
                    .queued_after = size(),
                    .round_trip = time(),
                    .elapsed = time()});
    ASSERT_TRUE(std::isfinite(governor.price()) && governor.price() > 0) << i;
  }
  // And it comes to its senses, after a long time of the same, too.
  Lane lane{.governor = governor};
  EXPECT_EQ(lane.steps(500, kCode, 0), 0U);
  lane.steps(50'000, kRandom, 0.9);
  EXPECT_GE(codec_levels()[lane.steps(100, kCode, 0.9)].id, CodecId::kZstd);
  EXPECT_EQ(lane.steps(500, kCode, 0), 0U);
}

void expect_to_keep_up(const simulation::Setting& setting, double share = 0.95) {
  const auto guest = busy_guest();
  double best = 0;
  for (std::size_t level = 0; level < kCodecLevels; ++level) {
    simulation::Fixed fixed(level);
    best = std::max(best, simulation::Simulation(setting, guest, fixed).run().page_gbit);
  }
  simulation::Governed governed(setting.lanes);
  const double got = simulation::Simulation(setting, guest, governed).run().page_gbit;
  EXPECT_GT(got, share * best) << setting.link_gbit << " Gbit/s, " << setting.cores << " cores, "
                               << setting.round_trip_ns / 1e6 << " ms";
}

/// The promise, on links from slow to faster than the lanes: never more than 5 % behind the codec that would
/// have been the best one, which nobody knows beforehand.
TEST(Governor, KeepsUpWithTheBestFixedCodecOnEveryLink) {
  for (const double link : {0.1, 1.0, 2.5, 10.0, 25.0, 100.0}) {
    for (const unsigned cores : {1U, 2U, 8U}) expect_to_keep_up({.cores = cores, .lanes = cores, .link_gbit = link});
  }
}

/// Less than a block beside what is under way, as with TCP_NOTSENT_LOWAT and a small window: each block waits, and
/// finds the queue empty, so there is hardly anything to steer by.
TEST(Governor, KeepsUpWithASmallQueue) {
  for (const double link : {0.1, 1.0, 2.5, 10.0, 25.0, 100.0}) {
    for (const unsigned cores : {1U, 2U, 8U}) {
      expect_to_keep_up({.cores = cores, .lanes = cores, .link_gbit = link, .socket_buffer = 192 << 10}, 0.92);
    }
  }
}

/// So many blocks that the first few round trips, in which nothing is confirmed, do not count.
constexpr std::size_t kManyBlocks = 16384;

TEST(Governor, KeepsUpOnLongLines) {
  for (const double link : {1.0, 10.0, 25.0}) {
    for (const unsigned cores : {1U, 8U}) {
      expect_to_keep_up(
          {.cores = cores, .lanes = cores, .link_gbit = link, .round_trip_ns = 10e6, .blocks = kManyBlocks});
    }
  }
}

/// Round trips mostly take longer than the shortest one did.
TEST(Governor, KeepsUpWhereConfirmationsComeLaterThanExpected) {
  for (const double link : {1.0, 10.0, 25.0}) {
    for (const unsigned cores : {1U, 8U}) {
      expect_to_keep_up({.cores = cores,
                         .lanes = cores,
                         .link_gbit = link,
                         .round_trip_ns = 14e6,
                         .told_round_trip_ns = 10e6,
                         .blocks = kManyBlocks});
    }
  }
}

/// Two lanes, and threads beside them on the other six cores.
TEST(Governor, FillsIdleCoresWhereTheLinkIsFull) {
  const auto guest = busy_guest();
  simulation::Setting setting{.cores = 8, .lanes = 2, .link_gbit = 10};
  simulation::Governed alone(setting.lanes);
  const auto without = simulation::Simulation(setting, guest, alone).run();
  setting.encoding_threads = 6;
  simulation::Governed governed(setting.lanes);
  const auto with = simulation::Simulation(setting, guest, governed).run();
  EXPECT_GT(with.page_gbit, 1.2 * without.page_gbit);
  EXPECT_LT(with.wire_share, without.wire_share);
  EXPECT_GT(with.link_use, 0.95);
  expect_to_keep_up(setting);
}

/// Where raw would leave cores idle and lz4 the link, a mixture by content uses both.
TEST(Governor, BeatsEveryFixedCodecInTheMiddle) {
  const auto guest = busy_guest();
  struct Cell {
    double link;
    unsigned cores;
  };
  for (const auto& [link, cores] : {Cell{10, 1}, Cell{15, 2}}) {
    const simulation::Setting setting{.cores = cores, .lanes = cores, .link_gbit = link};
    double best = 0;
    for (std::size_t level = 0; level < kCodecLevels; ++level) {
      simulation::Fixed fixed(level);
      best = std::max(best, simulation::Simulation(setting, guest, fixed).run().page_gbit);
    }
    simulation::Governed governed(cores);
    EXPECT_GT(simulation::Simulation(setting, guest, governed).run().page_gbit, 1.1 * best) << link;
  }
}

}  // namespace
}  // namespace godwit::governor_test
