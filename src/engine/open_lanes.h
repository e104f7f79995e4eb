// Opens a source's lanes, all at the same time.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "net/channel.h"
#include "wire/messages.h"

namespace godwit {

using ConnectLane = std::function<Result<std::unique_ptr<Channel>>()>;

/// So many connections, all at the same time. `connect` is called from many threads at once, and the slowest of its
/// calls is waited for.
std::vector<Result<std::unique_ptr<Channel>>> connect_side_by_side(const ConnectLane& connect, unsigned count);

struct OpenedLanes {
  std::vector<std::unique_ptr<Channel>> channels;  ///< have greeted as lanes 0, 1, ...
  std::string failures;                            ///< why others could not be opened, each reason once
};

/// As many of `count` lanes as can be opened; kPeerLost if there is not one.
Result<OpenedLanes> open_lanes(const ConnectLane& connect, const wire::Secret& secret, unsigned count);
/// The same on connections that have been opened.
Result<OpenedLanes> greet_lanes(std::vector<Result<std::unique_ptr<Channel>>> connections, const wire::Secret& secret);

}  // namespace godwit
