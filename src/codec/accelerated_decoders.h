// A device as a lane's decoder of deflate, at the sink. It needs no CPU behind it: what it does not take, or does not
// manage, the lane decodes (engine/lane_decoders.h), and one that fails again and again is given up by all lanes.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "codec/accelerator.h"
#include "codec/decoder_provider.h"

namespace godwit {

class AcceleratedDecoders final : public DecoderProvider {
 public:
  explicit AcceleratedDecoders(std::unique_ptr<Accelerator> accelerator) : accelerator_(std::move(accelerator)) {}

  Result<std::unique_ptr<LateDecoder>> lend(CodecId codec, unsigned given_up) override;

  const AcceleratorFacts& facts() const noexcept { return accelerator_->facts(); }
  /// Of the blocks, `bytes_before` is what was read and `bytes_after` what it became.
  AcceleratorUse use() const;

 private:
  friend class AcceleratedDecoder;
  std::unique_ptr<Accelerator> accelerator_;
  std::atomic<bool> lost_{false};  ///< a lane has given its own up: so does everyone
  std::atomic<std::uint64_t> blocks_{0};
  std::atomic<std::uint64_t> bytes_before_{0};
  std::atomic<std::uint64_t> bytes_after_{0};
  std::atomic<std::uint64_t> busy_{0};
  std::atomic<std::uint64_t> failed_{0};
};

}  // namespace godwit
