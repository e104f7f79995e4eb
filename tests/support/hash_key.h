// Keys for tests, the same in each run. Not for anything else: who knows a key can make sub-blocks that collide.
#pragma once

#include <cstddef>
#include <random>

#include "memory/sub_blocks.h"

namespace godwit::testing {

inline HashKey hash_key_from(std::uint64_t seed) {
  HashKey key;
  std::mt19937_64 random(seed);
  for (std::byte& byte : key.bytes()) byte = static_cast<std::byte>(random());
  return key;
}

/// For tests to which one key is as good as another.
inline const HashKey kHashKey = hash_key_from(1);

}  // namespace godwit::testing
