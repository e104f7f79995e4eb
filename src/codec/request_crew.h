// Threads that wait for a device whose calls return when it is done: a few for each device, not one for each lane.
//
//   lane --submit()--> line --> thread: copies the input, calls the device, copies what it made --> lane's answers
//
// A device sees the crew's own memory only, never a lane's: so a lane need not wait for one that hangs. Its requests
// are taken back, and the thread that is stuck with one is left behind.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "codec/accelerator.h"

namespace godwit {

/// What one thread has of the device: a session and memory. Made and used by that thread only.
class RequestWorker {
 public:
  virtual ~RequestWorker() = default;
  /// For an input or an output of kLongestBlock, and what a device may want beyond.
  virtual MutableBytes input() noexcept = 0;
  virtual MutableBytes output() noexcept = 0;
  /// `length` bytes of input(). Its answer's size is that of what is in output() then. Once it has said that the device
  /// is broken it is not asked again, and leaves its memory to the device.
  virtual DeviceDone work(std::size_t length, std::size_t room, bool decodes) = 0;
};

/// Any thread.
class RequestCrew {
 public:
  using MakeWorker = std::function<Result<std::unique_ptr<RequestWorker>>()>;
  /// `line`: requests that may wait for a thread, all lanes together.
  RequestCrew(unsigned threads, std::size_t line, const AcceleratorSetting& setting, MakeWorker make);
  /// As end(). Threads that are stuck in a call are left behind.
  ~RequestCrew();

  std::unique_ptr<DeviceQueue> queue();
  /// After its queues, once. False: a thread is stuck, or the device is broken, and may still work on something. Nobody
  /// may end the library then.
  bool end();

 private:
  friend class CrewQueue;
  struct Request;
  struct Answers;
  struct Shared;
  static void run(const std::shared_ptr<Shared>& shared, std::size_t number);

  std::shared_ptr<Shared> shared_;
  std::vector<std::thread> threads_;
};

}  // namespace godwit
