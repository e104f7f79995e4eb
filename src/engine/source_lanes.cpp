#include "engine/source_lanes.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/cpu_account.h"
#include "base/without_exceptions.h"
#include "engine/lost_packets.h"

namespace godwit {

void SourceLanes::add(std::unique_ptr<Channel> channel) {
  const auto number = static_cast<unsigned>(lanes_.size());
  lanes_.push_back(std::make_unique<SourceLane>(setting_, number, *channel));
  channels_.push_back(std::move(channel));
}

void SourceLanes::start(std::function<void(Error)> on_failed) {
  const auto run = [this, on_failed](unsigned i, const std::stop_token& stop) {
    Status status = lanes_[i]->run(stop);
    if (status || stop.stop_requested()) return;
    if (stuck_at_the_first_large_one(channels_[i]->link(), status.error())) never_got_through_ = true;
    on_failed(std::move(status).error().in(fmt::format("lane {}", i)));
  };
  const Status started = without_exceptions([&]() -> Status {
    for (unsigned i = 0; i < lanes_.size(); ++i) {
      threads_.push_back(job_thread([run, i](const std::stop_token& stop) { run(i, stop); }));
    }
    return {};
  });
  // As a lost link: where it was borne with fewer lanes, it is so again.
  if (!started) on_failed({ErrorKind::kPeerLost, started.error().message});
}

void SourceLanes::retire() {
  for (auto& thread : threads_) thread.request_stop();
  abort();
  stop();
  retired_ = totals();
  retired_codecs_ = codecs();
  lanes_.clear();
  channels_.clear();
  never_got_through_ = false;
  are_first_ = false;
}

void SourceLanes::fence(std::uint32_t number) {
  setting_.fence.store(number, std::memory_order_release);
  setting_.board.announce();
}

void SourceLanes::early_fence(std::uint32_t number) {
  setting_.early_fence.store(number, std::memory_order_release);
  setting_.board.announce();
}

bool SourceLanes::idle() const noexcept {
  for (const auto& lane : lanes_) {
    if (lane->counters().busy.load(std::memory_order_acquire)) return false;
  }
  return true;
}

bool SourceLanes::have_swept() const noexcept {
  if (lanes_.empty()) return false;
  for (const auto& lane : lanes_) {
    if (lane->counters().sweeps.load(std::memory_order_relaxed) == 0) return false;
  }
  return true;
}

bool SourceLanes::have_sent(std::uint32_t fence) const noexcept {
  for (const auto& lane : lanes_) {
    if (lane->counters().fence.load(std::memory_order_acquire) < fence) return false;
  }
  return true;
}

LaneTotals SourceLanes::totals() const noexcept {
  LaneTotals sum = retired_;
  for (std::size_t i = 0; i < lanes_.size(); ++i) {
    lanes_[i]->counters().add_to(sum);
    sum.bytes_wire += channels_[i]->link().bytes_sent();
  }
  return sum;
}

std::vector<CodecUse> SourceLanes::codecs() const {
  std::vector<CodecUse> uses = retired_codecs_;
  if (uses.empty()) {
    for (const auto& codec : levels_for(setting_.codec, setting_.encoders.offers())) uses.push_back({.codec = codec});
    if (CodecChoice by_cpu = uses.back().codec; by_cpu.device != CodecDevice::kCpu) {
      by_cpu.device = CodecDevice::kCpu;
      uses.push_back({.codec = by_cpu});
    }
  }
  const bool has_device = uses.size() > 1 && uses[uses.size() - 2].codec.device != CodecDevice::kCpu;
  for (const auto& lane : lanes_) {
    for (std::size_t r = 0; r < uses.size(); ++r) {
      const LevelCounters& level = lane->counters().levels[has_device && r + 1 == uses.size() ? kByCpuLevel : r];
      uses[r].blocks += level.blocks;
      uses[r].bytes_before += level.bytes_before;
      uses[r].bytes_after += level.bytes_after;
    }
  }
  return uses;
}

Duration SourceLanes::queueing() const noexcept {
  Duration least = Duration::max();
  for (const auto& channel : channels_) least = std::min(least, channel->link().queueing());
  return channels_.empty() ? Duration{} : least;
}

void SourceLanes::abort() noexcept {
  for (const auto& channel : channels_) channel->abort();
}

void SourceLanes::stop() {
  for (auto& thread : threads_) thread.request_stop();
  setting_.board.announce();
  threads_.clear();
}

}  // namespace godwit
