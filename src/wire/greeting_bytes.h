// A greeting that comes in pieces. Inside this folder only.
#pragma once

#include "base/bytes.h"
#include "base/result.h"
#include "wire/messages.h"

namespace godwit::wire {

inline constexpr std::size_t kMagicSize = 8;
inline constexpr std::size_t kVersionedSize = 10;  ///< the part that is the same in every version
inline constexpr std::size_t kGreetingSize = 48;

/// kProtocol as soon as the bytes so far cannot be a greeting of ours.
Status check_greeting(Bytes so_far);
/// A whole one, kGreetingSize bytes.
Result<Greeting> parse_greeting(Bytes bytes);

}  // namespace godwit::wire
