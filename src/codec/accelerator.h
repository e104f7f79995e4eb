// A device in the processor that deflates and inflates blocks: Intel QAT by QATzip, Intel IAA by QPL.
//
//   open_qat(), open_iaa() --why not, in a sentence--> operator
//            |
//            +--> Accelerator --queue()--> DeviceQueue, one lane's --jobs--> device --answers, in any order--> lane
//
// Neither library is needed to build or to start: it is loaded when it is asked for. What a device makes is the wire's
// deflate (deflate.cpp), with matches from no more than 4 KiB back, so that every other device and library reads it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "codec/accelerator_use.h"
#include "codec/codec.h"
#include "codec/job_queue.h"

namespace godwit {

/// Under this many bytes a block is not worth a request: the lane has encoded it before a device has answered.
inline constexpr std::size_t kLeastForDevice = 2048;
/// Under this many encoded bytes QATzip refuses to decode.
inline constexpr std::size_t kLeastToDecode = 128;

struct DeviceJob {
  std::uint64_t ticket = 0;  ///< the caller's; comes back in the answer
  Bytes input;
  MutableBytes output;
  bool decodes = false;
  bool changes = false;  ///< others write to the input meanwhile: it lies in guest RAM
};

struct DeviceDone {
  std::uint64_t ticket = 0;
  std::size_t size = 0;  ///< 0, of an encoding: it has not become smaller
  bool failed = false;   ///< not done
  bool busy = false;  ///< the device had no room for it at some time; together with `failed`: nothing is wrong with it
  bool changed = false;  ///< together with `failed`: the input is another than it was when it was submitted
  std::string broken;    ///< why nothing that this device makes can be trusted any more; then `failed`, too
  Duration worked{};     ///< CPU time of threads other than the one that submitted it
};

/// One lane's way to a device, shared or not.
class DeviceQueue : public JobQueue<DeviceJob, DeviceDone> {
 public:
  /// collect() that waits until then at most.
  virtual Result<std::size_t> collect_until(std::span<DeviceDone> done, std::stop_token stop, Instant until) = 0;
  Result<std::size_t> collect(std::span<DeviceDone> done, std::stop_token stop) final {
    return collect_until(done, std::move(stop), Instant::max());
  }
  /// Nobody wants this request's answer any more: none comes, and its output is not touched from here on. `input` owns
  /// the memory that its input lies in, for as long as the device may read it.
  virtual void forsake(std::uint64_t ticket, std::vector<std::byte> input) = 0;
};

/// Outlives its queues. Any thread.
class Accelerator {
 public:
  virtual ~Accelerator() = default;
  virtual const AcceleratorFacts& facts() const noexcept = 0;
  virtual Result<std::unique_ptr<DeviceQueue>> queue() = 0;
};

/// How to find a library and what to expect of a device.
struct AcceleratorSetting {
  std::string library;   ///< a path; empty: the usual names
  bool decodes = false;  ///< it is asked for that, and not to encode: a process does one of the two
  /// A request that takes longer is taken for lost, and the device too: by what its answers have taken
  /// (answer_times.h), from the one to the other.
  Duration least_patience = std::chrono::milliseconds(100);
  Duration patience = std::chrono::seconds(5);
  unsigned devices = 0;        ///< that the host has; 0: not known
  unsigned queue_entries = 0;  ///< requests that the devices' queues hold together; 0: not known
};

/// What it is called in every output.
std::string name_of_device(const char* name, const std::string& model);

/// They try the device with a block and look at what it makes of it. kUnsupported or kNotFound says why not, and what
/// to do about it.
Result<std::unique_ptr<Accelerator>> open_qat(const AcceleratorSetting& setting);
Result<std::unique_ptr<Accelerator>> open_iaa(const AcceleratorSetting& setting);

/// By its kind; the environment's GODWIT_QATZIP and GODWIT_QPL name the libraries if `setting` does not.
Result<std::unique_ptr<Accelerator>> open_accelerator(CodecDevice device, AcceleratorSetting setting);

/// Lets it encode or decode a made-up block. An error says what was wrong.
Status try_accelerator(Accelerator& accelerator, bool decodes);

}  // namespace godwit
