// Opens a source's lanes, all at the same time.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "net/channel.h"
#include "wire/messages.h"

namespace godwit {

struct OpenedLanes {
  std::vector<std::unique_ptr<Channel>> channels;  ///< have greeted as lanes 0, 1, ...
  std::string failures;                            ///< why others could not be opened, each reason once
};

/// As many of `count` lanes as can be opened; kPeerLost if there is not one. `connect` is called from many threads at
/// once, and the slowest of its calls is waited for.
Result<OpenedLanes> open_lanes(const std::function<Result<std::unique_ptr<Channel>>()>& connect,
                               const wire::Secret& secret, unsigned count);

}  // namespace godwit
