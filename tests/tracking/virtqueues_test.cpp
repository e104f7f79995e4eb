// Finding the pages that disk requests in flight may write: never too few, whatever the guest left in its memory.
#include "tracking/virtqueues.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/units.h"
#include "tests/tracking/virtio_disk.h"

namespace godwit::virtqueues_test {
namespace {

using testing::PlainMemory;
using testing::VirtioDisk;
using Pages = std::set<std::uint64_t>;

constexpr std::uint64_t kRamBytes = 8 * kMiB;
constexpr std::uint64_t kRamPages = kRamBytes / kPageSize;

RamLayout layout_of(std::vector<std::uint64_t> sizes) {
  std::vector<RamBlock> blocks;
  for (const auto size : sizes) blocks.push_back({"ram" + std::to_string(blocks.size()), size, kPageSize, {}});
  return *RamLayout::make(std::move(blocks));
}

Descriptor reads_into(std::uint64_t page, std::uint32_t bytes = kPageSize) {
  return {page * kPageSize, bytes, kDescriptorWritable, 0};
}
Descriptor writes_from(std::uint64_t page) {
  return {page * kPageSize, kPageSize, 0, 0};
}

Pages pages_of(const std::vector<PagesOfChunk>& list) {
  Pages pages;
  for (const auto& entry : list) {
    for_each_page(entry.pages,
                  [&](unsigned page) { pages.insert(entry.chunk.value * std::uint64_t{kPagesPerChunk} + page); });
  }
  return pages;
}

class Virtqueues : public ::testing::Test {
 protected:
  Result<std::vector<PagesOfChunk>> look() {
    return read_virtqueues(memory_, {{0, kRamBytes, 0, 0}},
                           [&]() -> Result<std::vector<Virtqueue>> { return std::vector<Virtqueue>{disk_.queue()}; })
        ->in_flight();
  }
  Pages in_flight() {
    const auto answer = look();
    EXPECT_TRUE(answer) << answer.error().message;
    return answer ? pages_of(*answer) : Pages{};
  }

  PlainMemory memory_{layout_of({kRamBytes})};
  VirtioDisk disk_{memory_, {0x1000, 0x2000, 0x3000, 16}};
};

TEST_F(Virtqueues, NameNothingWhenNothingIsInFlight) {
  EXPECT_EQ(in_flight(), Pages{});
  disk_.complete(disk_.submit({reads_into(100)}));
  EXPECT_EQ(in_flight(), Pages{});
}

TEST_F(Virtqueues, NameTheBuffersThatTheDeviceWrites) {
  disk_.submit({writes_from(90), reads_into(100, 3 * kPageSize), reads_into(200, 1)});
  EXPECT_EQ(in_flight(), (Pages{100, 101, 102, 200}));
}

TEST_F(Virtqueues, NameAPageThatABufferOnlyTouches) {
  disk_.submit({{100 * kPageSize + 4095, 2, kDescriptorWritable, 0}});
  EXPECT_EQ(in_flight(), (Pages{100, 101}));
}

TEST_F(Virtqueues, FollowIndirectTables) {
  const std::uint64_t table = 0x5ff0;  // across two pages
  disk_.put(table, Descriptor{90 * kPageSize, 16, kDescriptorNext, 2});
  disk_.put(table + 16, Descriptor{91 * kPageSize, 4096, kDescriptorWritable, 0});  // not in the chain
  disk_.put(table + 32, Descriptor{300 * kPageSize, 4096, kDescriptorWritable | kDescriptorNext, 3});
  disk_.put(table + 48, Descriptor{302 * kPageSize, 1, kDescriptorWritable, 0});
  disk_.submit({{table, 64, kDescriptorIndirect, 0}});
  EXPECT_EQ(in_flight(), (Pages{300, 302}));
}

TEST_F(Virtqueues, FollowAnIndirectChainToTheEndOfALongTable) {
  constexpr std::uint64_t kTable = 0x10000;
  constexpr std::uint16_t kLast = 1999;
  disk_.put(kTable, Descriptor{300 * kPageSize, 1, kDescriptorWritable | kDescriptorNext, kLast});
  disk_.put(kTable + 16 * kLast, Descriptor{301 * kPageSize, 1, kDescriptorWritable, 0});
  disk_.submit({{kTable, 16 * 2000, kDescriptorIndirect, 0}});
  EXPECT_EQ(in_flight(), (Pages{300, 301}));
}

TEST_F(Virtqueues, LeaveOutWhatIsProvedToBeCompleted) {
  const auto first = disk_.submit({reads_into(100)});
  const auto second = disk_.submit({reads_into(101)});
  disk_.submit({reads_into(102)});
  disk_.complete(first);
  disk_.complete(second);
  EXPECT_EQ(in_flight(), (Pages{102}));
}

TEST_F(Virtqueues, NameARequestThatOthersHaveLongOvertaken) {
  disk_.submit({reads_into(100)});
  for (std::uint64_t i = 0; i < 70000; ++i) {
    disk_.complete(disk_.submit({reads_into(200 + i % 3)}));
    if (i % 997 == 0) {
      ASSERT_TRUE(in_flight().contains(100)) << i;
    }
  }
  EXPECT_TRUE(in_flight().contains(100));
}

TEST_F(Virtqueues, AreAskedForAnewEachTime) {
  std::vector<Virtqueue> queues;
  bool fails = false;
  const auto reader = read_virtqueues(memory_, {{0, kRamBytes, 0, 0}}, [&]() -> Result<std::vector<Virtqueue>> {
    if (fails) return fail(ErrorKind::kHypervisor, "it cannot tell");
    return queues;
  });
  disk_.submit({reads_into(100)});
  EXPECT_TRUE(reader->in_flight()->empty());
  queues.push_back(disk_.queue());
  EXPECT_EQ(pages_of(*reader->in_flight()), (Pages{100}));
  queues.push_back({0, 0, 0, 0});  // not set up
  EXPECT_EQ(pages_of(*reader->in_flight()), (Pages{100}));
  fails = true;
  EXPECT_EQ(reader->in_flight().error().kind, ErrorKind::kHypervisor);
}

TEST_F(Virtqueues, MayNotLieOutsideRamOrHaveAnImpossibleSize) {
  for (const Virtqueue& queue : {Virtqueue{0x1000, 0x2000, kRamBytes, 16}, Virtqueue{0x1000, kRamBytes - 2, 0x3000, 16},
                                 Virtqueue{0x1000, 0x2000, 0x3000, 17}, Virtqueue{0x1000, ~0ULL - 1, 0x3000, 16}}) {
    const auto answer = read_virtqueues(memory_, {{0, kRamBytes, 0, 0}}, [&]() -> Result<std::vector<Virtqueue>> {
                          return std::vector<Virtqueue>{queue};
                        })->in_flight();
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().kind, ErrorKind::kHypervisor);
  }
}

// A chain whose links go round, tables that point to themselves, buffers past the end of everything.
TEST_F(Virtqueues, EndOnLoopsAndNonsense) {
  disk_.submit({reads_into(100)});
  for (std::uint16_t i = 0; i < 15; ++i) {
    disk_.put_descriptor(i, {0x1000, 256, kDescriptorNext | kDescriptorIndirect | kDescriptorWritable,
                             static_cast<std::uint16_t>(i * 7 % 16)});
  }
  EXPECT_TRUE(in_flight().contains(100));
  for (std::uint16_t i = 0; i < 15; ++i) disk_.put_descriptor(i, {~0ULL - i, 0xffffffff, 7, 0xffff});
  EXPECT_TRUE(in_flight().contains(100));
  for (std::uint16_t i = 0; i < 15; ++i) disk_.put_descriptor(i, {kRamBytes - 4096, 0xfffffff0, 7, i});
  EXPECT_TRUE(in_flight().contains(kRamPages - 1));
}

TEST_F(Virtqueues, NameEverythingWhereThereIsTooMuchToLookAt) {
  PlainMemory memory(layout_of({64 * kMiB}));
  VirtioDisk disk(memory, {0x10000, 0x40000, 0x50000, 1024});
  disk.submit({reads_into(100)});
  // 1024 tables of 1024 buffers of one byte each, no two in one page of their table's reach.
  for (std::uint16_t head = 0; head < 1023; ++head) {
    const std::uint64_t table = 16 * kMiB + head * 16384ULL;
    disk.put_descriptor(head, {table, 16384, kDescriptorIndirect, 0});
    for (std::uint16_t i = 0; i < 1024; ++i) {
      disk.put(table + 16ULL * i, Descriptor{((head * 1024ULL + i) * 64) % (48 * kMiB), 1,
                                             kDescriptorWritable | kDescriptorNext, static_cast<std::uint16_t>(i + 1)});
    }
  }
  const auto answer = read_virtqueues(memory, {{0, 64 * kMiB, 0, 0}}, [&]() -> Result<std::vector<Virtqueue>> {
                        return std::vector<Virtqueue>{disk.queue()};
                      })->in_flight();
  ASSERT_TRUE(answer);
  EXPECT_EQ(pages_of(*answer).size(), 64 * kMiB / kPageSize);
}

// RAM in two blocks, the second one's last chunk cut short, with a gap between them, as on a PC.
TEST(VirtqueuesAddresses, AreTranslatedPieceByPiece) {
  PlainMemory memory(layout_of({kMiB, kMiB + 3 * kPageSize}));
  const std::vector<PhysicalRange> ranges = {
      {8 * kMiB, kMiB / 2, 1, kMiB / 2 + 3 * kPageSize},  // the second block's end first
      {0, kMiB, 0, 0},
      {kMiB, kMiB / 2 + 3 * kPageSize, 1, 0},
      {64 * kMiB, kMiB, 7, 0},      // no such block
      {65 * kMiB, 2 * kMiB, 0, 0},  // longer than its block
  };
  VirtioDisk disk(memory, {0x1000, 0x2000, 0x3000, 16});
  disk.submit({{kMiB - 1, 2, kDescriptorWritable, 0},                          // from one block to the other
               {8 * kMiB + kMiB / 2 - 1, 0xffffffff, kDescriptorWritable, 0},  // the last byte, and far beyond
               {8 * kMiB - 0x10000, 0x10001, kDescriptorWritable, 0},          // from the gap into RAM
               {7 * kMiB, kMiB, kDescriptorWritable, 0},                       // all in the gap
               {64 * kMiB, 4096, kDescriptorWritable, 0}});
  const auto answer = read_virtqueues(memory, ranges, [&]() -> Result<std::vector<Virtqueue>> {
                        return std::vector<Virtqueue>{disk.queue()};
                      })->in_flight();
  ASSERT_TRUE(answer) << answer.error().message;
  const std::uint64_t second = kMiB / kPageSize;  // number of the second block's first page
  EXPECT_EQ(pages_of(*answer), (Pages{second - 1, second, second + kMiB / kPageSize + 2, second + 128 + 3}));
}

// The model: requests come and go in any order, in direct chains and through indirect tables whose memory is used again
// for other things. Each page that a request in flight may write must be named at every look.
TEST(VirtqueuesModel, NeverNameTooFew) {
  constexpr unsigned kSeed = 11;
  for (unsigned run = 0; run < 12; ++run) {
    std::minstd_rand random(kSeed + run);
    PlainMemory memory(layout_of({kRamBytes}));
    VirtioDisk disk(memory, {0x1000, 0x4000, 0x6000, static_cast<std::uint16_t>(8 << (run % 3))});
    const auto reader = read_virtqueues(memory, {{0, kRamBytes, 0, 0}}, [&]() -> Result<std::vector<Virtqueue>> {
      return std::vector<Virtqueue>{disk.queue()};
    });
    std::map<std::uint16_t, Pages> written;
    std::uint64_t named = 0, needed = 0;
    for (int step = 0; step < 6000; ++step) {
      const bool full = disk.free_descriptors() < 3 || disk.in_flight().size() > run / 2;
      if (!disk.in_flight().empty() && (full || random() % 3 == 0)) {
        // Heads that 7 divides are mostly left for long.
        auto chosen = disk.in_flight().begin();
        std::advance(chosen, random() % disk.in_flight().size());
        if (random() % 64 == 0 || chosen->first % 7 != 0 || disk.free_descriptors() < 3) {
          written.erase(chosen->first);
          disk.complete(chosen->first);
        }
      } else if (!full) {
        Pages pages;
        std::vector<Descriptor> chain = {writes_from(1000)};
        for (unsigned i = 0; i < 1 + random() % 2; ++i) {
          chain.push_back(reads_into(256 + random() % 1024));
          pages.insert(chain.back().address / kPageSize);
        }
        if (random() % 2 == 0) {
          const std::uint64_t table = 4 * kMiB + random() % 512 * 64;
          bool taken = false;
          for (const auto& [head, others] : written) taken |= others.contains(table / kPageSize + 100000);
          if (taken) continue;
          for (std::size_t i = 0; i < chain.size(); ++i) {
            Descriptor descriptor = chain[i];
            if (i + 1 < chain.size()) descriptor.flags |= kDescriptorNext;
            descriptor.next = static_cast<std::uint16_t>(i + 1);
            disk.put(table + 16 * i, descriptor);
          }
          pages.insert(table / kPageSize + 100000);  // marks the table's page as in use
          chain = {{table, static_cast<std::uint32_t>(16 * chain.size()), kDescriptorIndirect, 0}};
        }
        written[disk.submit(chain)] = pages;
      }
      const auto answer = reader->in_flight();
      ASSERT_TRUE(answer) << answer.error().message;
      const Pages now = pages_of(*answer);
      for (const auto& [head, pages] : written) {
        for (const auto page : pages) {
          if (page >= 100000) continue;
          ASSERT_TRUE(now.contains(page)) << "run " << run << ", step " << step << ", head " << head;
          ++needed;
        }
      }
      named += now.size();
      if (written.empty()) {
        ASSERT_TRUE(now.empty());
      }
    }
    EXPECT_GE(named, needed / 2);
    EXPECT_GT(needed, 1000U);
  }
}

/// Guest memory in which something happens before each read.
class LivelyMemory final : public GuestMemory {
 public:
  LivelyMemory(PlainMemory& memory, const std::function<void()>& happen) : memory_(memory), happen_(happen) {}
  const RamLayout& layout() const noexcept override { return memory_.layout(); }
  Status read(ChunkIndex chunk, PageWord pages, MutableBytes out) const override {
    happen_();
    return memory_.read(chunk, pages, out);
  }
  Status write(ChunkIndex chunk, PageWord pages, Bytes in) override { return memory_.write(chunk, pages, in); }
  Status fill(ChunkIndex chunk, PageWord pages, Bytes in) override { return memory_.fill(chunk, pages, in); }
  std::optional<MutableBytes> map(ChunkIndex) noexcept override { return std::nullopt; }
  Status discard(ChunkIndex chunk, PageWord pages) override { return memory_.discard(chunk, pages); }
  Status populate(ChunkIndex, PageWord) override { return {}; }
  Status find_data(ChunkIndex first, std::span<PageWord> out) const override { return memory_.find_data(first, out); }
  Status keep_holes(ChunkIndex first, std::span<PageWord> pages) const override {
    return memory_.keep_holes(first, pages);
  }

 private:
  PlainMemory& memory_;
  const std::function<void()>& happen_;
};

// Guest and disk work on between any two reads of the look. What was in flight all the while must be named.
TEST(VirtqueuesModel, NeverNameTooFewWhileTheRingsMove) {
  for (unsigned seed = 0; seed < 30; ++seed) {
    std::minstd_rand random(seed + 100);
    PlainMemory memory(layout_of({kRamBytes}));
    VirtioDisk disk(memory, {0x1000, 0x2000, 0x3000, 8});
    std::set<std::uint16_t> throughout;
    const std::function<void()> happen = [&] {
      for (auto steps = random() % 12; steps > 0; --steps) {
        if (!disk.in_flight().empty() && (disk.free_descriptors() == 0 || random() % 2 == 0)) {
          auto chosen = disk.in_flight().begin();
          std::advance(chosen, random() % disk.in_flight().size());
          if (chosen->first % 5 == seed % 5 && random() % 32 != 0) continue;  // slow ones
          throughout.erase(chosen->first);
          disk.complete(chosen->first);
        } else if (disk.free_descriptors() > 0) {
          const auto page = 256 + random() % 1024;
          disk.submit({reads_into(page)});
        }
      }
    };
    const LivelyMemory lively(memory, happen);
    const auto reader = read_virtqueues(lively, {{0, kRamBytes, 0, 0}}, [&]() -> Result<std::vector<Virtqueue>> {
      return std::vector<Virtqueue>{disk.queue()};
    });
    std::uint64_t checked = 0;
    for (int look = 0; look < 2000; ++look) {
      throughout.clear();
      for (const auto& [head, taken] : disk.in_flight()) throughout.insert(head);
      const auto answer = reader->in_flight();
      ASSERT_TRUE(answer) << answer.error().message;
      const Pages named = pages_of(*answer);
      for (const auto head : throughout) {
        Descriptor descriptor;
        std::memcpy(&descriptor, memory.at(ChunkIndex{0}, 0) + 0x1000 + 16 * head, sizeof descriptor);
        ASSERT_TRUE(named.contains(descriptor.address / kPageSize)) << "seed " << seed << ", look " << look;
        ++checked;
      }
    }
    EXPECT_GT(checked, 100U);
  }
}

TEST(PossibleHeads, AreAllWhereTheRingsProveNothing) {
  EXPECT_EQ(possible_heads({0, {0, 0}, {0, 0}, 1}), (std::vector<bool>{true, true}));
  // Completed as number 0, and submitted again as number 1.
  EXPECT_EQ(possible_heads({1, {1, 0}, {1, 1}, 2}), (std::vector<bool>{true, true}));
  // Completed as number 0, and submitted as number 0 only.
  EXPECT_EQ(possible_heads({1, {1, 0}, {1, 0}, 2}), (std::vector<bool>{true, false}));
  // The same just where the numbers start over.
  EXPECT_EQ(possible_heads({0, {0, 1}, {0, 1}, 0}), (std::vector<bool>{false, false}));
  // Heads that the queue does not have.
  EXPECT_EQ(possible_heads({2, {77, 0xffffffff}, {9, 0xffff}, 2}), (std::vector<bool>{true, true}));
}

/// Each reading of the time takes some.
class SlowClock final : public Clock {
 public:
  explicit SlowClock(Duration step) : step_(step) {}
  Instant now() const noexcept override { return now_ += step_; }

 private:
  Duration step_;
  mutable Instant now_{};
};

TEST(HeadsInFlight, AreAllPossibleIfTheLookTookLong) {
  PlainMemory memory(layout_of({kRamBytes}));
  VirtioDisk disk(memory, {0x1000, 0x2000, 0x3000, 4});
  const GuestPhysical physical(memory, {{0, kRamBytes, 0, 0}});
  disk.complete(disk.submit({reads_into(100)}));
  const auto head = disk.submit({reads_into(101)});
  const auto quick = heads_in_flight(physical, disk.queue(), SlowClock(std::chrono::microseconds(1)));
  ASSERT_TRUE(quick);
  EXPECT_LT(std::ranges::count(*quick, true), 4);
  EXPECT_TRUE((*quick)[head]);
  const auto slow = heads_in_flight(physical, disk.queue(), SlowClock(std::chrono::milliseconds(50)));
  ASSERT_TRUE(slow);
  EXPECT_EQ(std::ranges::count(*slow, true), 4);
}

}  // namespace
}  // namespace godwit::virtqueues_test
