#include "engine/open_lanes.h"

#include <fmt/format.h>

#include <optional>
#include <thread>

#include "base/cpu_account.h"
#include "wire/control.h"

namespace godwit {

Result<OpenedLanes> open_lanes(const std::function<Result<std::unique_ptr<Channel>>()>& connect,
                               const wire::Secret& secret, unsigned count) {
  std::vector<std::optional<Result<std::unique_ptr<Channel>>>> tries(count);
  {
    std::vector<std::jthread> threads;
    for (auto& one : tries) threads.push_back(job_thread([&] { one = connect(); }));
  }
  OpenedLanes lanes;
  std::optional<Error> failed;
  for (auto& one : tries) {
    wire::Greeting greeting{.role = wire::Role::kLane, .secret = secret};
    greeting.lane = static_cast<std::uint16_t>(lanes.channels.size());
    Status open = *one ? Status{} : fail(one->error());
    if (open) open = wire::send_greeting(***one, greeting);
    if (open) {
      lanes.channels.push_back(std::move(**one));
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
