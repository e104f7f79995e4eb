// Milestones: named points of a migration, told to whoever wires the engine (tests set failpoints on them).
//
// Source: attached connected welcomed tracking mapped copying handing-over stopped fenced devices-sent prepared
//         committed done
// Sink:   attached listening greeted welcomed mapped last-fence loaded prepared committed resumed
#pragma once

#include <functional>
#include <string_view>

namespace godwit {

/// Called from the coordinator's thread, or from the sink's loader; must not block for long.
using OnMilestone = std::function<void(std::string_view milestone)>;

}  // namespace godwit
