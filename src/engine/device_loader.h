// The loader: takes the device stream to the hypervisor, in order, and waits where RAM must be in place first.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "vmm/hypervisor.h"
#include "wire/messages.h"

namespace godwit {

/// Fed by the control reader and by the lanes; loads on a thread of its own, into a VM that is open for it.
class DeviceLoader {
 public:
  /// `on_prepared` and `on_failed` are called from the loader's thread.
  DeviceLoader(SinkVm& vm, const Clock& clock, std::function<void()> on_prepared, std::function<void(Error)> on_failed);
  ~DeviceLoader() { stop(); }

  /// kProtocol when more is buffered than any device state needs.
  Status push(std::vector<std::byte> bytes);
  /// kProtocol as well for what cannot be decoded.
  Status push_packed(const wire::PackedDevices& devices);
  /// What is pushed from here on waits until ram_in_place(). The VM is looked at again meanwhile.
  void guest_stopped();
  /// All that devices may look at is there.
  void ram_in_place();
  /// Nothing of RAM is missing; devices loaded before this are prepared only now.
  void ram_complete();
  void end_of_stream();
  /// It touches the hypervisor no more when this returns; nothing is prepared after it.
  void stop();
  /// From the wait for RAM being over to the devices loaded.
  Duration took() const noexcept { return took_.load(); }

 private:
  struct Piece {
    std::vector<std::byte> bytes;
    bool after_stop = false;
  };
  void run(std::stop_token stop);
  Status load_all(std::stop_token stop);
  Result<std::optional<Piece>> next(std::stop_token stop);

  SinkVm& vm_;
  const Clock& clock_;
  std::function<void()> on_prepared_;
  std::function<void(Error)> on_failed_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<Piece> pieces_;
  std::size_t buffered_ = 0;
  bool stopped_ = false;
  bool looked_again_ = false;
  bool ram_in_place_ = false;
  bool ram_complete_ = false;
  bool ended_ = false;
  std::atomic<Duration> took_{};
  std::jthread thread_;
};

}  // namespace godwit
