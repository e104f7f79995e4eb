// A lane's encoders where a device encodes: the device does what it takes, the CPU what it does not.
//
//   block --> is it long enough?  has the device room?  --yes--> device --answer--> lane
//                     |                    |                        | fails
//                     +------no------------+---------> CPU <--------+
//
// A device that fails again and again, does not answer or says that it is gone is given up by all lanes at once, for
// the rest of the migration. What it had is encoded by the CPU: nothing is lost, and no lane has to know.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "codec/accelerator.h"
#include "codec/encoder_provider.h"

namespace godwit {

class AcceleratedEncoders final : public EncoderProvider {
 public:
  /// `cpu` outlives it. `on_note`: once, when the device is given up; any lane's thread, may be empty.
  AcceleratedEncoders(std::unique_ptr<Accelerator> accelerator, EncoderProvider& cpu,
                      std::function<void(std::string_view)> on_note);
  ~AcceleratedEncoders() override;

  /// From now on the governor may choose it. Before any lane begins.
  void offer(CodecDevice device) { offered_ = CodecChoice{.id = CodecId::kDeflate, .level = 1, .device = device}; }
  std::optional<CodecChoice> offers() const noexcept override { return offered_; }

  /// For deflate one that uses the device; for everything else the CPU's.
  Result<std::unique_ptr<Encoder>> lend(const CodecChoice& choice, unsigned given_up) override;

  const AcceleratorFacts& facts() const noexcept { return accelerator_->facts(); }
  AcceleratorUse use() const;

  /// Failures in a row, of all lanes, after which a device is given up.
  static constexpr unsigned kMostFailures = 8;

 private:
  friend class AcceleratedEncoder;
  void succeeded(const EncodeJob& job, std::size_t size) noexcept;
  void failed();
  void give_up(std::string_view why);
  bool lost() const noexcept { return lost_.load(std::memory_order_acquire); }

  std::unique_ptr<Accelerator> accelerator_;
  EncoderProvider& cpu_;
  std::function<void(std::string_view)> on_note_;
  std::optional<CodecChoice> offered_;
  std::atomic<bool> lost_{false};
  std::atomic<unsigned> failures_{0};  ///< in a row
  std::atomic<std::uint64_t> blocks_{0};
  std::atomic<std::uint64_t> bytes_before_{0};
  std::atomic<std::uint64_t> bytes_after_{0};
  std::atomic<std::uint64_t> busy_{0};
  std::atomic<std::uint64_t> failed_{0};
  std::atomic<std::uint64_t> in_place_{0};
  std::atomic<std::uint64_t> changed_{0};
  mutable std::mutex mutex_;
  std::string why_lost_;
};

}  // namespace godwit
