// More memory than a lane has a use for is not taken.
#include <gtest/gtest.h>

#include "engine/page_sorter.h"
#include "host/host_profile.h"
#include "tests/support/hash_key.h"

namespace godwit {
namespace {

TEST(SorterMemory, IsNoMoreThanTheGuestsPagesCanFill) {
  // What `--delta-memory 1PiB` asks for, for a guest of 2 MiB.
  EXPECT_NO_THROW(PageSorter(best_kernels({}), {.key = testing::kHashKey, .memory = std::size_t{1} << 50}, 8, 1));
}

TEST(SorterMemory, ATableWithoutRoomAnswersAtOnce) {
  DeltaTable none(1 << 22, 4, 100);  // 1 TiB of RAM, room for no chunk's hashes
  for (std::uint32_t c = 0; c < 400; c += 4) EXPECT_EQ(none.open(ChunkIndex{c}, true), nullptr);
}

}  // namespace
}  // namespace godwit
