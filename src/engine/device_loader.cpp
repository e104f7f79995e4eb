#include "engine/device_loader.h"

#include "base/cpu_account.h"
#include "base/units.h"
#include "codec/codec.h"

namespace godwit {

namespace {
// Devices save some 100 KB, video memory up to some 100 MB; a source that sends more than this is not QEMU.
constexpr std::size_t kMostBuffered = 1 * kGiB;
constexpr Duration kQemuLoadPatience = std::chrono::seconds(60);
}  // namespace

DeviceLoader::DeviceLoader(SinkVm& vm, const Clock& clock, std::function<void()> on_prepared,
                           std::function<void(Error)> on_failed)
    : vm_(vm), clock_(clock), on_prepared_(std::move(on_prepared)), on_failed_(std::move(on_failed)) {
  thread_ = job_thread([this](std::stop_token stop) { run(stop); });
}

void DeviceLoader::stop() {
  thread_ = {};
}

Status DeviceLoader::push(std::vector<std::byte> bytes) {
  {
    std::lock_guard lock(mutex_);
    if (buffered_ + bytes.size() > kMostBuffered) {
      return fail(ErrorKind::kProtocol, "the source's device stream is longer than any device state");
    }
    buffered_ += bytes.size();
    pieces_.push_back({std::move(bytes), stopped_});
  }
  changed_.notify_all();
  return {};
}

Status DeviceLoader::push_packed(const wire::PackedDevices& devices) {
  const auto decoder = TRY_IN("devices", make_decoder(CodecId{devices.codec}));
  std::vector<std::byte> bytes(devices.size);
  TRY_IN("devices", decoder->decode(devices.bytes, bytes));
  return push(std::move(bytes));
}

void DeviceLoader::guest_stopped() {
  {
    std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  changed_.notify_all();
}

void DeviceLoader::ram_in_place() {
  {
    std::lock_guard lock(mutex_);
    ram_in_place_ = true;
  }
  changed_.notify_all();
}

void DeviceLoader::ram_complete() {
  {
    std::lock_guard lock(mutex_);
    ram_complete_ = ram_in_place_ = true;
  }
  changed_.notify_all();
}

void DeviceLoader::end_of_stream() {
  {
    std::lock_guard lock(mutex_);
    ended_ = true;
  }
  changed_.notify_all();
}

void DeviceLoader::run(std::stop_token stop) {
  Status status = load_all(stop);
  if (stop.stop_requested()) return;
  if (!status) return on_failed_(std::move(status).error());
  on_prepared_();
}

Status DeviceLoader::load_all(std::stop_token stop) {
  bool began = false;
  std::optional<Instant> waited;  ///< until when for RAM
  while (const auto piece = TRY(next(stop))) {
    began = true;
    if (piece->after_stop && !waited) waited = clock_.now();
    TRY(vm_.load(piece->bytes));
  }
  if (!began) return fail(ErrorKind::kProtocol, "the source sent no device state");
  TRY(vm_.finish_load());
  TRY(vm_.await_loaded(kQemuLoadPatience));
  if (waited) took_ = clock_.now() - *waited;
  std::unique_lock lock(mutex_);
  if (!changed_.wait(lock, stop, [&] { return ram_complete_; })) return fail(ErrorKind::kCancelled, "stopped");
  return {};
}

/// What may be loaded next; nothing at the end of the stream.
Result<std::optional<DeviceLoader::Piece>> DeviceLoader::next(std::stop_token stop) {
  std::unique_lock lock(mutex_);
  while (true) {
    const bool ready = changed_.wait(lock, stop, [&] {
      if (stopped_ && !looked_again_) return true;
      if (pieces_.empty()) return ended_ && ram_in_place_;
      return !pieces_.front().after_stop || ram_in_place_;
    });
    if (!ready) return fail(ErrorKind::kCancelled, "stopped");
    // What came before the stop is loaded first.
    const bool before_stop = !pieces_.empty() && !pieces_.front().after_stop;
    if (!stopped_ || looked_again_ || before_stop) break;
    looked_again_ = true;
    lock.unlock();
    TRY(vm_.check_unchanged());
    lock.lock();
  }
  if (pieces_.empty()) return std::optional<Piece>{};
  Piece piece = std::move(pieces_.front());
  pieces_.pop_front();
  buffered_ -= piece.bytes.size();
  return std::optional(std::move(piece));
}

}  // namespace godwit
