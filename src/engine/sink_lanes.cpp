#include "engine/sink_lanes.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/cpu_account.h"
#include "base/migration_id.h"
#include "base/without_exceptions.h"
#include "engine/fence.h"

namespace godwit {

SinkLanes::SinkLanes(Channels channels, std::uint32_t in_a_row, PagePlacer& placer, const Kernels& kernels,
                     DecoderProvider& decoders, OnPassed on_passed, std::function<void(std::string_view)> on_note)
    : channels_(std::move(channels)),
      on_passed_(std::move(on_passed)),
      setting_{.placer = &placer,
               .kernels = kernels,
               .decoders = decoders,
               .shares = {static_cast<std::uint32_t>(channels_.size()), in_a_row},
               .on_fence = [this](unsigned lane, std::uint32_t fence) { return on_fence(lane, fence); },
               .on_note = std::move(on_note)},
      fences_(channels_.size()) {}

void SinkLanes::start(const std::string& id, std::function<void(Error)> on_failed) {
  on_failed_ = std::move(on_failed);
  const Status started = without_exceptions([&]() -> Status {
    for (unsigned i = 0; i < channels_.size(); ++i) {
      threads_.push_back(job_thread([this, id, i] {
        name_thread(id, fmt::format("lane{}", i));
        run(i);
      }));
    }
    return {};
  });
  // As a lost link: the source may come back with fewer lanes.
  if (!started) on_failed_({ErrorKind::kPeerLost, started.error().message});
}

void SinkLanes::run(unsigned number) {
  Status status = SinkLane(setting_, number, *channels_[number]).run(stop_.get_token());
  if (!status && !stop_.stop_requested()) on_failed_(std::move(status).error().in(fmt::format("lane {}", number)));
}

Status SinkLanes::on_fence(unsigned lane, std::uint32_t fence) {
  std::unique_lock lock(mutex_);
  if (fence <= fences_[lane])
    return fail(ErrorKind::kProtocol, fmt::format("the source sent fence {} out of order", fence));
  fences_[lane] = fence;
  const std::uint32_t passed = *std::ranges::min_element(fences_);
  if (passed != passed_) {
    passed_ = passed;
    TRY(on_passed_(passed));
  }
  return fence == kMissingFence ? wait_at_gate(lock) : Status{};
}

/// What this lane has put in place may be taken away now; what comes behind the fence is for a guest that may run.
Status SinkLanes::wait_at_gate(std::unique_lock<std::mutex>& lock) {
  ++at_gate_;
  gate_.notify_all();
  gate_.wait(lock, [&] { return gate_open_ || stop_.stop_requested(); });
  return gate_open_ ? Status{} : fail(ErrorKind::kCancelled, "the move was given up");
}

bool SinkLanes::await_all_at_gate(Duration at_most) {
  std::unique_lock lock(mutex_);
  return gate_.wait_for(lock, at_most, [&] { return at_gate_ == channels_.size(); });
}

void SinkLanes::open_gate(PagePlacer& placer) {
  {
    const std::lock_guard lock(mutex_);
    setting_.placer = &placer;
    gate_open_ = true;
  }
  gate_.notify_all();
}

void SinkLanes::abort() noexcept {
  {
    const std::lock_guard lock(mutex_);
    stop_.request_stop();
  }
  gate_.notify_all();
  for (const auto& channel : channels_) channel->abort();
}

void SinkLanes::stop() {
  abort();
  threads_.clear();
}

std::uint64_t SinkLanes::bytes_received() const noexcept {
  std::uint64_t bytes = 0;
  for (const auto& channel : channels_) bytes += channel->link().bytes_received();
  return bytes;
}

}  // namespace godwit
