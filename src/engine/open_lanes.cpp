#include "engine/open_lanes.h"

#include <fmt/format.h>

#include <optional>
#include <thread>

#include "base/cpu_account.h"
#include "wire/control.h"

namespace godwit {

std::vector<Result<std::unique_ptr<Channel>>> connect_side_by_side(const ConnectLane& connect, unsigned count) {
  std::vector<Result<std::unique_ptr<Channel>>> tries;
  for (unsigned i = 0; i < count; ++i) tries.emplace_back(std::unique_ptr<Channel>{});
  std::vector<std::jthread> threads;
  for (auto& one : tries) threads.push_back(job_thread([&] { one = connect(); }));
  threads.clear();
  return tries;
}

Result<OpenedLanes> open_lanes(const ConnectLane& connect, const wire::Secret& secret, unsigned count) {
  return greet_lanes(connect_side_by_side(connect, count), secret);
}

Result<OpenedLanes> greet_lanes(std::vector<Result<std::unique_ptr<Channel>>> connections, const wire::Secret& secret) {
  OpenedLanes lanes;
  std::optional<Error> failed;
  for (auto& one : connections) {
    wire::Greeting greeting{.role = wire::Role::kLane, .secret = secret};
    greeting.lane = static_cast<std::uint16_t>(lanes.channels.size());
    Status open = one ? Status{} : fail(one.error());
    if (open) open = wire::send_greeting(**one, greeting);
    if (open) {
      lanes.channels.push_back(*std::move(one));
      continue;
    }
    if (lanes.failures.find(open.error().message) == std::string::npos) {
      lanes.failures += (lanes.failures.empty() ? "" : "; ") + open.error().message;
    }
    failed = std::move(open).error();
  }
  if (!lanes.channels.empty()) return lanes;
  failed->message = lanes.failures;
  return fail(std::move(*failed).in("no lane could be opened"));
}

}  // namespace godwit
