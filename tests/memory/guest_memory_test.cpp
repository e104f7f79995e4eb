// The conformance suite of GuestMemory, run on every kind of backing.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <thread>

#include "tests/memory/backings.h"

namespace godwit::guest_memory_test {
namespace {

using testing::offset_of;
using Buffer = std::vector<std::byte>;

Buffer random_bytes(std::size_t size, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  Buffer bytes(size);
  std::ranges::generate(bytes, [&] { return static_cast<std::byte>(random() | 1); });
  return bytes;
}

bool all_zero(Bytes bytes) {
  return std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
}

class GuestMemoryTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    auto made = testing::make_backing(GetParam());
    if (const auto* reason = std::get_if<std::string>(&made)) GTEST_SKIP() << *reason;
    backing_ = std::move(std::get<0>(made));
    ASSERT_NE(backing_->memory, nullptr);
  }
  GuestMemory& memory() { return *backing_->memory; }
  std::uint32_t chunks() { return memory().layout().chunk_count(); }
  PageWord valid(ChunkIndex chunk) { return memory().layout().valid_pages(chunk); }

  Buffer read(ChunkIndex chunk, PageWord pages) {
    Buffer bytes(page_count(pages) * kPageSize, std::byte{0xee});
    const auto status = memory().read(chunk, pages, bytes);
    EXPECT_TRUE(status) << status.error().message;
    return bytes;
  }
  void write(ChunkIndex chunk, PageWord pages, Bytes bytes) {
    const auto status = memory().write(chunk, pages, bytes);
    ASSERT_TRUE(status) << status.error().message;
  }
  /// The pages as the guest sees them.
  Buffer peek(ChunkIndex chunk, PageWord pages) {
    Buffer bytes(page_count(pages) * kPageSize);
    std::size_t at = 0;
    for_each_page(pages, [&](unsigned page) {
      backing_->peek(offset_of(memory(), chunk) + page * kPageSize, MutableBytes(bytes).subspan(at, kPageSize));
      at += kPageSize;
    });
    return bytes;
  }
  void poke(ChunkIndex chunk, unsigned page, std::uint64_t seed) {
    backing_->poke(offset_of(memory(), chunk) + page * kPageSize, random_bytes(kPageSize, seed));
  }
  std::vector<PageWord> find(std::uint32_t first, std::uint32_t count) {
    std::vector<PageWord> words(count, kAllPages);
    const auto status = memory().find_data({first}, words);
    EXPECT_TRUE(status) << status.error().message;
    return words;
  }

  std::unique_ptr<testing::Backing> backing_;
};

TEST_P(GuestMemoryTest, ReadsWhatTheGuestWrote) {
  for (const std::uint32_t chunk : {0u, 8u, 9u, 11u}) {
    const PageWord pages = valid({chunk}) & 0xf00000000000ff55;
    for_each_page(pages, [&](unsigned page) { poke({chunk}, page, chunk * 64 + page); });
    const Buffer bytes = read({chunk}, pages);
    std::size_t at = 0;
    for_each_page(pages, [&](unsigned page) {
      const Buffer expected = random_bytes(kPageSize, chunk * 64 + page);
      EXPECT_TRUE(std::equal(expected.begin(), expected.end(), bytes.begin() + static_cast<std::ptrdiff_t>(at)))
          << "chunk " << chunk << " page " << page;
      at += kPageSize;
    });
  }
}

TEST_P(GuestMemoryTest, TheGuestSeesWhatWasWritten) {
  for (std::uint32_t chunk = 0; chunk < chunks(); ++chunk) {
    const PageWord pages = valid({chunk}) & (chunk % 2 == 0 ? kAllPages : 0x5555555555555555);
    const Buffer bytes = random_bytes(page_count(pages) * kPageSize, chunk);
    write({chunk}, pages, bytes);
    EXPECT_EQ(peek({chunk}, pages), bytes) << "chunk " << chunk;
    EXPECT_EQ(read({chunk}, pages), bytes) << "chunk " << chunk;
    EXPECT_TRUE(all_zero(peek({chunk}, valid({chunk}) & ~pages))) << "chunk " << chunk;
  }
}

constexpr const char* kNoZeroPage = "this kernel has no page of zeros: private memory that is read takes memory";

TEST_P(GuestMemoryTest, HolesReadAsZerosAndStayHoles) {
  if (std::string_view(GetParam()) == "process" && !testing::kernel_has_zero_page()) GTEST_SKIP() << kNoZeroPage;
  poke({1}, 5, 1);
  const auto before = backing_->allocated();
  for (std::uint32_t chunk = 0; chunk < chunks(); ++chunk) {
    const Buffer bytes = read({chunk}, valid({chunk}));
    EXPECT_EQ(all_zero(bytes), chunk != 1) << "chunk " << chunk;
  }
  find(0, chunks());
  EXPECT_EQ(backing_->allocated(), before);
}

TEST_P(GuestMemoryTest, FindDataMissesNothing) {
  std::mt19937_64 random(7);
  std::vector<PageWord> written(chunks());
  for (int round = 0; round < 12; ++round) {
    for (int i = 0; i < 10; ++i) {
      const auto chunk = static_cast<std::uint32_t>(random() % chunks());
      const auto page = static_cast<unsigned>(random() % 64);
      if ((valid({chunk}) >> page & 1) == 0) continue;
      poke({chunk}, page, random());
      written[chunk] |= PageWord{1} << page;
    }
    const auto found = find(0, chunks());
    std::vector<PageWord> piecewise;
    for (std::uint32_t chunk = 0; chunk < chunks(); ++chunk) piecewise.push_back(find(chunk, 1)[0]);
    for (std::uint32_t chunk = 0; chunk < chunks(); ++chunk) {
      EXPECT_EQ(written[chunk] & ~found[chunk], 0u) << "chunk " << chunk;
      EXPECT_EQ(written[chunk] & ~piecewise[chunk], 0u) << "chunk " << chunk;
      EXPECT_EQ(found[chunk] & ~valid({chunk}), 0u) << "chunk " << chunk;
      if (backing_->traits.finds_exactly) {
        EXPECT_EQ(found[chunk], written[chunk]) << "chunk " << chunk;
        EXPECT_EQ(piecewise[chunk], written[chunk]) << "chunk " << chunk;
      }
    }
  }
}

TEST_P(GuestMemoryTest, FindDataSeesHolesThatComeLater) {
  for (std::uint32_t chunk = 0; chunk < chunks(); ++chunk) {
    write({chunk}, valid({chunk}), random_bytes(page_count(valid({chunk})) * kPageSize, chunk));
  }
  for (std::uint32_t chunk = 0; chunk < chunks(); ++chunk) EXPECT_EQ(find(chunk, 1)[0], valid({chunk}));
  ASSERT_TRUE(memory().discard({1}, 0b1000));
  ASSERT_TRUE(memory().discard({10}, kAllPages));
  for (std::uint32_t chunk = 0; chunk < chunks(); ++chunk) {
    const PageWord discarded = chunk == 1 ? 0b1000 : chunk == 10 ? kAllPages : 0;
    // What gives nothing back has no holes to see.
    const PageWord expected = backing_->traits.frees ? valid({chunk}) & ~discarded : valid({chunk});
    EXPECT_EQ(find(chunk, 1)[0], expected) << "chunk " << chunk;
  }
}

TEST_P(GuestMemoryTest, DiscardedPagesAreZeroAndTheOthersStay) {
  const ChunkIndex last{chunks() - 1};
  for (const ChunkIndex chunk : {ChunkIndex{0}, last}) {
    const PageWord pages = valid(chunk);
    const PageWord gone = pages & 0x00ff0000f0000105;
    const Buffer bytes = random_bytes(page_count(pages) * kPageSize, 3);
    write(chunk, pages, bytes);
    const auto before = backing_->allocated();
    const auto status = memory().discard(chunk, gone);
    ASSERT_TRUE(status) << status.error().message;
    // Before the guest looks, which allocates again what it looks at.
    const auto freed = backing_->traits.frees ? page_count(gone) * kPageSize : 0;
    EXPECT_EQ(backing_->allocated(), before - freed);
    for_each_page(pages, [&](unsigned page) {
      const Buffer now = peek(chunk, PageWord{1} << page);
      if ((gone >> page & 1) != 0) {
        EXPECT_TRUE(all_zero(now)) << "page " << page;
      } else {
        EXPECT_TRUE(std::ranges::equal(now, Bytes(bytes).subspan(page * kPageSize, kPageSize))) << "page " << page;
      }
    });
  }
}

TEST_P(GuestMemoryTest, DiscardedHolesStayHoles) {
  const auto before = backing_->allocated();
  ASSERT_TRUE(memory().discard({0}, kAllPages));
  ASSERT_TRUE(memory().discard({3}, 0xf0f0));
  EXPECT_EQ(backing_->allocated(), before);
}

TEST_P(GuestMemoryTest, MappedBytesAreTheGuestsOwn) {
  if (!backing_->traits.maps) {
    EXPECT_FALSE(memory().map({0}));
    return;
  }
  for (std::uint32_t chunk = 0; chunk < chunks(); ++chunk) {
    const auto mapped = memory().map({chunk});
    ASSERT_TRUE(mapped);
    ASSERT_EQ(mapped->size(), page_count(valid({chunk})) * kPageSize);
    const Buffer bytes = random_bytes(mapped->size(), chunk);
    std::ranges::copy(bytes, mapped->begin());
    EXPECT_EQ(peek({chunk}, valid({chunk})), bytes);
    EXPECT_EQ(memory().map({chunk})->data(), mapped->data());
  }
  EXPECT_FALSE(memory().map({chunks()}));
}

TEST_P(GuestMemoryTest, PopulateAllocatesAndChangesNothing) {
  if (std::string_view(GetParam()) == "process" && !testing::kernel_has_zero_page()) GTEST_SKIP() << kNoZeroPage;
  poke({2}, 1, 9);
  const auto before = backing_->allocated();
  const auto status = memory().populate({2}, 0xff);
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_EQ(peek({2}, 0b10), random_bytes(kPageSize, 9));
  EXPECT_TRUE(all_zero(peek({2}, 0xfd)));
  ASSERT_TRUE(memory().populate({0}, 0xf));
  if (backing_->traits.populates) {
    // A huge page covers both chunks.
    EXPECT_GE(backing_->allocated(), std::max(before, 12 * kPageSize));
  } else {
    EXPECT_EQ(backing_->allocated(), before);
  }
}

TEST_P(GuestMemoryTest, FillsPagesWhetherTheyAreThereOrNot) {
  poke({2}, 1, 9);
  poke({2}, 4, 10);
  const Buffer bytes = random_bytes(8 * kPageSize, 11);
  const auto status = memory().fill({2}, 0xff, bytes);
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_EQ(peek({2}, 0xff), bytes);
  EXPECT_TRUE(all_zero(peek({2}, 0xf00)));
  // Again, over what is there now, with gaps.
  const Buffer others = random_bytes(3 * kPageSize, 12);
  ASSERT_TRUE(memory().fill({2}, 0b101000001, others));
  EXPECT_EQ(peek({2}, 0b101000001), others);
  EXPECT_EQ(peek({2}, 0b10), Buffer(bytes.begin() + kPageSize, bytes.begin() + 2 * kPageSize));
  // What is given back can be filled again, and what was filled can be given back.
  ASSERT_TRUE(memory().discard({2}, 0xf));
  ASSERT_TRUE(memory().fill({2}, 1, Bytes(bytes).first(kPageSize)));
  EXPECT_EQ(peek({2}, 1), Buffer(bytes.begin(), bytes.begin() + kPageSize));
  EXPECT_TRUE(all_zero(peek({2}, 0b1110)));
}

TEST_P(GuestMemoryTest, KeepsAllHolesAmongSuspects) {
  poke({1}, 63, 1);
  poke({2}, 0, 2);
  poke({2}, 1, 3);
  poke({2}, 40, 4);
  std::vector<PageWord> pages = {kAllPages, kAllPages, 0b1001 | (PageWord{1} << 40)};
  ASSERT_TRUE(memory().keep_holes({0}, pages));
  std::vector<PageWord> data(3);
  ASSERT_TRUE(memory().find_data({0}, data));
  const std::array<PageWord, 3> asked = {kAllPages, kAllPages, 0b1001 | (PageWord{1} << 40)};
  for (std::size_t i = 0; i < asked.size(); ++i) {
    // Where the cache does not tell, pages that are there may be left among the holes; never the other way round.
    EXPECT_EQ(asked[i] & ~data[i] & ~pages[i], 0u) << i;
    if (backing_->traits.finds_exactly) {
      EXPECT_EQ(pages[i], asked[i] & ~data[i]) << i;
    }
  }
}

TEST_P(GuestMemoryTest, KeepsTheHolesOfAnyPattern) {
  std::mt19937_64 random(11);
  for (int round = 0; round < 60; ++round) {
    const auto chunk = static_cast<std::uint32_t>(random() % chunks());
    for (int i = 0; i < 20; ++i) {
      const auto page = static_cast<unsigned>(random() % 64);
      if ((valid({chunk}) >> page & 1) != 0) poke({chunk}, page, random());
    }
    const PageWord gone = round % 3 == 0 ? valid({chunk}) & random() & random() : 0;
    ASSERT_TRUE(memory().discard({chunk}, gone));
    std::vector<PageWord> asked(chunks());
    for (std::uint32_t c = 0; c < chunks(); ++c) {
      asked[c] = valid({c}) & (round % 2 == 0 ? random() : kAllPages << random() % 64);
    }
    std::vector<PageWord> kept = asked;
    ASSERT_TRUE(memory().keep_holes({0}, kept));
    const auto data = find(0, chunks());
    for (std::uint32_t c = 0; c < chunks(); ++c) {
      EXPECT_EQ(kept[c], asked[c] & ~data[c]) << "round " << round << ", chunk " << c;
    }
  }
}

TEST_P(GuestMemoryTest, KeepsWhereHolesMayBe) {
  const auto kept = [this] {
    std::vector<PageWord> words(chunks(), 0b101);
    EXPECT_TRUE(memory().keep_where_holes_may_be({0}, words));
    for (std::uint32_t c = 0; c < chunks(); ++c) EXPECT_TRUE(words[c] == 0b101 || words[c] == 0) << c;
    return words.front() != 0 && words.back() != 0;
  };
  const std::string backing = GetParam();
  EXPECT_EQ(kept(), backing != "hugetlbfs");
  std::vector<std::byte> all(testing::kWholeSize, std::byte{7});
  backing_->poke(0, all);
  EXPECT_EQ(kept(), backing == "disk" || backing == "process") << "it is not known there";
  if (!backing_->traits.frees) return;
  ASSERT_TRUE(memory().discard({2}, 1));
  EXPECT_TRUE(kept());
}

TEST_P(GuestMemoryTest, NoPagesIsNoWork) {
  EXPECT_TRUE(memory().fill({0}, 0, {}));
  EXPECT_TRUE(memory().keep_holes({chunks()}, {}));
  EXPECT_TRUE(memory().keep_where_holes_may_be({chunks()}, {}));
  EXPECT_TRUE(memory().read({0}, 0, {}));
  EXPECT_TRUE(memory().write({0}, 0, {}));
  EXPECT_TRUE(memory().discard({0}, 0));
  EXPECT_TRUE(memory().populate({0}, 0));
  EXPECT_TRUE(memory().find_data({chunks()}, {}));
}

TEST_P(GuestMemoryTest, RefusesPagesThatDoNotExist) {
  Buffer bytes(kChunkSize);
  const auto refused = [](const Status& status) {
    return !status && status.error().kind == ErrorKind::kInvalidArgument;
  };
  const ChunkIndex beyond{chunks()};
  const ChunkIndex cut{8};
  ASSERT_EQ(valid(cut), 7u);
  EXPECT_TRUE(refused(memory().read(beyond, 1, MutableBytes(bytes).first(kPageSize))));
  EXPECT_TRUE(refused(memory().read(cut, 8, MutableBytes(bytes).first(kPageSize))));
  EXPECT_TRUE(refused(memory().read({0}, 1, bytes)));
  EXPECT_TRUE(refused(memory().write(beyond, 1, Bytes(bytes).first(kPageSize))));
  EXPECT_TRUE(refused(memory().write(cut, kAllPages, bytes)));
  EXPECT_TRUE(refused(memory().write({0}, 3, Bytes(bytes).first(kPageSize))));
  EXPECT_TRUE(refused(memory().fill(cut, 8, Bytes(bytes).first(kPageSize))));
  EXPECT_TRUE(refused(memory().discard(cut, 8)));
  EXPECT_TRUE(refused(memory().populate(cut, 8)));
  std::vector<PageWord> words(chunks());
  EXPECT_TRUE(refused(memory().find_data({1}, words)));
  EXPECT_TRUE(refused(memory().keep_holes({1}, words)));
  EXPECT_TRUE(refused(memory().keep_where_holes_may_be({1}, words)));
  EXPECT_TRUE(refused(memory().find_data({0xffffffff}, words)));
}

TEST_P(GuestMemoryTest, LanesWorkSideBySide) {
  constexpr std::uint32_t kLanes = 3;
  std::vector<std::thread> lanes;
  std::array<bool, kLanes> good{};
  for (std::uint32_t lane = 0; lane < kLanes; ++lane) {
    lanes.emplace_back([&, lane] {
      bool fine = true;
      for (std::uint32_t round = 0; round < 2; ++round) {
        for (std::uint32_t chunk = lane; chunk < chunks(); chunk += kLanes) {
          const PageWord pages = valid({chunk});
          Buffer bytes = random_bytes(page_count(pages) * kPageSize, round);
          Buffer back(bytes.size());
          PageWord found = 0;
          fine = fine && memory().write({chunk}, pages, bytes) && memory().read({chunk}, pages, back) &&
                 back == bytes && memory().find_data({chunk}, {&found, 1}) && (pages & ~found) == 0;
        }
      }
      good[lane] = fine;
    });
  }
  for (auto& lane : lanes) lane.join();
  for (const bool fine : good) EXPECT_TRUE(fine);
}

INSTANTIATE_TEST_SUITE_P(Backings, GuestMemoryTest, ::testing::Values("tmpfs", "memfd", "disk", "hugetlbfs", "process"),
                         [](const auto& backing) { return std::string(backing.param); });

}  // namespace
}  // namespace godwit::guest_memory_test
