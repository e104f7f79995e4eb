// What guests do to a page.
#pragma once

#include <cstring>
#include <random>

#include "tests/support/plain_memory.h"
#include "tests/support/racy_on_purpose.h"

namespace godwit::testing {

inline RamLayout ram_of_chunks(unsigned count) {
  return RamLayout::make({{.name = "ram0", .size = count * kChunkSize}}).value();
}

constexpr PageWord page_bit(unsigned page) {
  return PageWord{1} << page;
}

inline void fill_at_random(PlainMemory& memory, ChunkIndex chunk, unsigned page, std::mt19937_64& random) {
  for (std::size_t at = 0; at < kPageSize; at += 8) {
    const auto value = random();
    std::memcpy(memory.at(chunk, page) + at, &value, 8);
  }
}

inline void write_somehow(PlainMemory& memory, ChunkIndex chunk, unsigned page, std::mt19937_64& random) {
  const RacyOnPurpose racy;
  std::byte* const bytes = memory.at(chunk, page);
  switch (random() % 8) {
    case 0:
      std::memset(bytes, 0, kPageSize);
      break;
    case 1:
      std::memset(bytes, static_cast<int>(random() % 256), kPageSize);
      break;
    case 2: {  // like some other page, perhaps
      const ChunkIndex other{static_cast<std::uint32_t>(random() % memory.layout().chunk_count())};
      std::memmove(bytes, memory.at(other, static_cast<unsigned>(random() % kPagesPerChunk)), kPageSize);
      if (random() % 2 == 0) bytes[random() % kPageSize] = static_cast<std::byte>(random());
      break;
    }
    case 3:
      fill_at_random(memory, chunk, page, random);
      break;
    case 4:
      break;  // written with what was there
    default:
      for (auto n = random() % 20; n > 0; --n) bytes[random() % kPageSize] = static_cast<std::byte>(random());
  }
}

}  // namespace godwit::testing
