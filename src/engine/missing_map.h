// The map of missing pages, as it goes from one side to the other: in pieces, empty stretches left out.
#pragma once

#include <functional>

#include "wire/control.h"

namespace godwit {

/// `missing` gives a chunk's word.
Status send_missing_map(wire::ControlConnection& control, std::uint32_t chunks,
                        const std::function<PageWord(ChunkIndex)>& missing);

}  // namespace godwit
