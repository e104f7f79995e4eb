// A model of a device that deflates, behind libraries that look like Intel's: threads of its own, and settings by the
// environment for what real devices do and tests want to see.
//
//   GODWIT_MODEL_LATENCY=100      microseconds from a request to its answer, beside the time for its bytes
//   GODWIT_MODEL_RATE=12000       megabytes a second, all requests together
//   GODWIT_MODEL_INSTANCES=8      threads
//   GODWIT_MODEL_QUEUE=64         requests that it holds at once; one more is told that it is busy
//   GODWIT_MODEL_ORDER=random     answers come in any order
//   GODWIT_MODEL_BUSY=10          percent of requests that are told so anyway
//   GODWIT_MODEL_REFUSES=10       percent of calls that find no instance (QAT), or of the later steps of a request that
//                                 find the queue full (IAA)
//   GODWIT_MODEL_ERRORS=10        percent of requests that fail; QAT answers the session's next with what it had
//                                 of them
//   GODWIT_MODEL_GARBAGE=10       percent of requests that are answered as if all were well, with another block
//   GODWIT_MODEL_WELL=20          before any of the two: so many requests to which neither happens
//   GODWIT_MODEL_VANISHES=100     after so many requests: what is under way fails, and all that come
//   GODWIT_MODEL_HANGS=100        after so many requests none is answered any more
//   GODWIT_MODEL_LACKS=device     or instances, memory, software (no device, and the library says that all is well),
//                                 quiet (a device that goes on by software once it has worked), queue, config
//   GODWIT_MODEL_REMEMBERS=1      blocks that it has seen cost no CPU time to speak of: for measurements of its pace
//   GODWIT_MODEL_SEED=1
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

namespace godwit::standin {

struct ModelSetting {
  std::chrono::microseconds latency{100};
  double bytes_per_second = 12e9;
  unsigned instances = 8;
  std::size_t queue = 64;
  bool random_order = false;
  unsigned busy = 0;
  unsigned refuses = 0;
  unsigned errors = 0;
  unsigned garbage = 0;
  std::uint64_t well = 0;
  std::uint64_t vanishes_after = 0;
  std::uint64_t hangs_after = 0;
  std::string lacks;
  bool remembers = false;
  std::uint64_t seed = 1;

  static ModelSetting from_environment();
};

enum class ModelStatus { kUnderWay, kDone, kNoRoom, kDamaged, kFailed };

struct ModelRequest {
  const std::uint8_t* input = nullptr;
  std::size_t length = 0;
  std::uint8_t* output = nullptr;
  std::size_t room = 0;
  bool decodes = false;
  bool last = true;
  std::size_t piece = 0;      ///< encoded in pieces of so many bytes without a common history; 0: in one
  unsigned window_bits = 15;  ///< matches reach back 2^window_bits

  // The answer, under the device's lock.
  ModelStatus status = ModelStatus::kUnderWay;
  std::size_t written = 0;
  std::uint32_t crc = 0;   ///< of what it has encoded
  bool worked_on = false;  ///< by a thread of the device, now
  std::condition_variable* waiter = nullptr;
};

/// Any thread.
class ModelDevice {
 public:
  explicit ModelDevice(ModelSetting setting);
  ~ModelDevice();

  const ModelSetting& setting() const noexcept { return setting_; }
  /// False: busy. The request stays where it is until it has been answered.
  bool submit(ModelRequest& request);
  ModelStatus look(const ModelRequest& request);
  ModelStatus wait(ModelRequest& request);
  bool vanished();
  /// If not, whoever waits for an answer stops waiting: it does nothing any more.
  bool idle();
  bool refuses();                  ///< a step, or a call
  void hold(bool holds);           ///< as long as it does, no request is answered
  std::uint64_t inputs_changed();  ///< inputs that somebody wrote to while the device had them
  /// Called by its threads when they have read the first half of an input.
  using AmidRead = void(void* context, const std::uint8_t* input, std::size_t length);
  void amid_read(AmidRead* call, void* context);

 private:
  using Clock = std::chrono::steady_clock;
  struct Entry {
    ModelRequest* request;
    std::uint64_t number;
    std::uint32_t checksum;
    Clock::time_point due;
  };
  void run();
  void wake_waiters();
  std::uint32_t sum_of(const ModelRequest& request) const;
  using Made = std::shared_ptr<const std::vector<std::uint8_t>>;
  ModelStatus work(const ModelRequest& request, Made& made);
  std::vector<std::uint8_t> read(const ModelRequest& request);
  bool happens(unsigned percent) { return random_() % 100 < percent; }

  ModelSetting setting_;
  std::mutex mutex_;
  std::condition_variable came_;
  std::set<std::condition_variable*> waiters_;  ///< each with its request: an answer wakes no others
  std::condition_variable let_go_;
  std::deque<Entry> waiting_;
  std::size_t held_ = 0;
  std::uint64_t requests_ = 0;
  std::uint64_t changed_ = 0;
  Clock::time_point free_at_{};
  std::mt19937_64 random_;
  bool holds_ = false;
  AmidRead* amid_read_ = nullptr;
  void* context_ = nullptr;
  bool ends_ = false;
  std::unordered_map<std::uint64_t, Made> seen_;
  std::vector<std::thread> threads_;
};

/// The one device of this library; made from the environment when it is first asked for.
ModelDevice& model_device();
/// From the environment again; nothing may be under way.
void reset_model_device();

}  // namespace godwit::standin
