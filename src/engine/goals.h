// What the operator asked for.
#pragma once

#include <optional>

#include "base/clock.h"
#include "base/units.h"
#include "codec/codec.h"

namespace godwit {

struct Goals {
  unsigned lanes = 2;
  CodecChoice codec{};
  Duration max_downtime = std::chrono::milliseconds(50);
  Duration timeout = std::chrono::hours(1);
  std::optional<BitRate> bandwidth;
};

}  // namespace godwit
