// Which stretches are armed, and what has to be when data has been found: a table.
#include "tracking/armed_stretches.h"

#include <gtest/gtest.h>

#include <random>

#include "base/units.h"

namespace godwit {
namespace {

using Stretches = std::vector<Stretch>;

constexpr std::uint64_t kAligned = std::uint64_t{1} << 40;

Stretch mib(std::uint64_t begin, std::uint64_t end) {
  return {begin * kMiB, end * kMiB};
}

TEST(ArmedStretches, DataIsRoundedOutToUnitsOfTheAddressSpace) {
  ArmedStretches stretches(kAligned, 100 * kMiB);
  const Stretches data{{3 * kMiB, 3 * kMiB + 4096}, {9 * kMiB, 13 * kMiB}};
  EXPECT_EQ(stretches.missing(data, 0), (Stretches{mib(2, 4), mib(8, 14)}));
  // One that begins in the midst of a unit: its first one is cut short, and so is its last.
  ArmedStretches odd(kAligned + kMiB, 10 * kMiB);
  EXPECT_EQ(odd.missing(Stretches{mib(0, 1), {9 * kMiB + 5, 9 * kMiB + 6}}, 0), (Stretches{mib(0, 1), mib(9, 10)}));
}

TEST(ArmedStretches, ShortGapsGoWithTheirNeighbours) {
  const ArmedStretches stretches(kAligned, kGiB);
  EXPECT_EQ(stretches.missing(Stretches{mib(0, 2), mib(6, 8), mib(100, 102)}, 8 * kMiB),
            (Stretches{mib(0, 8), mib(100, 102)}));
}

TEST(ArmedStretches, OnlyWhatIsNotArmedIsMissing) {
  ArmedStretches stretches(kAligned, 100 * kMiB);
  stretches.add(Stretches{mib(10, 20), mib(40, 50)});
  EXPECT_EQ(stretches.missing(Stretches{mib(12, 14), mib(18, 24), mib(38, 42)}, 0),
            (Stretches{mib(20, 24), mib(38, 40)}));
  EXPECT_EQ(stretches.gaps(), (Stretches{mib(0, 10), mib(20, 40), mib(50, 100)}));
  stretches.add(Stretches{mib(20, 40)});
  EXPECT_EQ(stretches.armed(), (Stretches{mib(10, 50)}));
  EXPECT_EQ(stretches.bytes(), 40 * kMiB);
  EXPECT_EQ(stretches.missing({}, 0), Stretches{});
}

/// Against a bit for each unit.
TEST(ArmedStretches, AgreeWithABitmap) {
  constexpr std::uint64_t kUnits = 200;
  std::mt19937_64 random(1);
  for (int round = 0; round < 300; ++round) {
    ArmedStretches stretches(kAligned, kUnits * ArmedStretches::kUnit);
    std::vector<bool> expected(kUnits);
    for (int step = 0; step < 6; ++step) {
      Stretches data;
      for (std::uint64_t at = random() % 40; at < kUnits; at += 1 + random() % 60) {
        const std::uint64_t begin = at * ArmedStretches::kUnit + random() % ArmedStretches::kUnit;
        const std::uint64_t end =
            std::min(begin + 1 + random() % (5 * ArmedStretches::kUnit), kUnits * ArmedStretches::kUnit);
        data.push_back({begin, end});
        for (auto u = begin / ArmedStretches::kUnit; u * ArmedStretches::kUnit < end; ++u) expected[u] = true;
        at = end / ArmedStretches::kUnit;
      }
      stretches.add(stretches.missing(data, 0));
      std::vector<bool> armed(kUnits);
      for (const Stretch& each : stretches.armed()) {
        for (auto u = each.begin / ArmedStretches::kUnit; u < each.end / ArmedStretches::kUnit; ++u) armed[u] = true;
      }
      ASSERT_EQ(armed, expected);
      std::uint64_t covered = stretches.bytes();
      for (const Stretch& gap : stretches.gaps()) covered += gap.length();
      ASSERT_EQ(covered, kUnits * ArmedStretches::kUnit);
    }
  }
}

}  // namespace
}  // namespace godwit
