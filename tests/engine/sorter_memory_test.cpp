// What a lane remembers of pages: no more memory than it has a use for, and nothing of what it has not seen itself.
#include <gtest/gtest.h>

#include <array>

#include "base/units.h"
#include "engine/delta_memory.h"
#include "engine/page_sorter.h"
#include "host/host_profile.h"
#include "tests/support/hash_key.h"

namespace godwit::sorter_memory_test {
namespace {

TEST(SorterMemory, IsNoMoreThanTheGuestsPagesCanFill) {
  // What `--delta-memory 1PiB` asks for, for a guest of 2 MiB.
  EXPECT_NO_THROW(PageSorter(best_kernels({}), {.key = testing::kHashKey, .memory = std::size_t{1} << 50}, 8, {}));
}

TEST(SorterMemory, ATableWithoutRoomAnswersAtOnce) {
  DeltaTable none(1 << 22, {4, 8}, 100);  // 1 TiB of RAM, room for no chunk's hashes
  for (std::uint32_t c = 0; c < 400; c += 4) EXPECT_EQ(none.open(ChunkIndex{c}, true), nullptr);
}

TEST(SorterMemory, TheDefaultFitsIntoWhatAnEngineMayTake) {
  for (const std::uint64_t ram : {512 * kMiB, 2 * kGiB, 64 * kGiB, 1024 * kGiB}) {
    for (const unsigned lanes : {1U, 2U, 4U}) {
      const auto memory = default_delta_memory(ram, lanes);
      // A lane's zstd contexts and buffers are below 7 MiB.
      EXPECT_LE(memory + lanes * 7 * kMiB, 64 * kMiB + ram / 100);
      EXPECT_GE(memory, std::min(ram / 32, 32 * kMiB)) << "enough for the hashes of a GiB";
    }
  }
  EXPECT_GT(default_delta_memory(512 * kMiB, 64), 0U);
}

/// A device has read it in guest RAM: whatever it has seen there, the page has to go whole the next time.
TEST(SorterMemory, NothingIsKeptOfAPageThatIsForgotten) {
  PageSorter sorter(best_kernels({}), {.key = testing::kHashKey, .memory = 4 * kMiB}, 8, {});
  alignas(64) std::array<std::byte, kPageSize> page;
  for (std::size_t i = 0; i < page.size(); ++i) page[i] = std::byte(i * i / 3);
  wire::TailBuilder tail;
  const auto sorted = [&](PageWord resent) {
    tail.clear();
    return sorter.sort(ChunkIndex{2}, 1, resent, page.data(), Effort::kDeltas, tail);
  };
  EXPECT_EQ(sorted(0).whole, 1U);
  EXPECT_EQ(sorted(1).unchanged, 1U);
  sorter.forget(ChunkIndex{2}, 1);
  EXPECT_EQ(sorted(1).whole, 1U);
  EXPECT_FALSE(sorter.keeps(Effort::kPlain));
  EXPECT_TRUE(sorter.keeps(Effort::kDeltas));
}

}  // namespace
}  // namespace godwit::sorter_memory_test
